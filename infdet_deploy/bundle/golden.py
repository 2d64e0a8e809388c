"""The small clip in a bundle, with what the network gives for it: enough to check a device without torch or data.

`golden.npz` holds plain arrays: `frames` uint8 [T, S, S]; `flow` float32 [T, c, h, w], the last one zero;
`infrared_features`, `flow_features` float32 [T', d]; `length` int64 [1]; `scores` float32 [T', C]. Flow and features
that the network does not have are left out.
"""

import zipfile

import numpy as np

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import BundleError

GOLDEN = "golden.npz"

Tensors = dict[str, dict[str, np.ndarray]]  # by stage, then by tensor name


def load_golden(bundle: Bundle) -> dict[str, np.ndarray]:
    """The arrays of a bundle's golden clip; raises BundleError where there is none or it cannot be read."""
    path = bundle.path / GOLDEN
    if not path.is_file():
        raise BundleError(f"{bundle.path} holds no {GOLDEN} to test itself with; export it again with this version")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is damaged: {error}") from None
    missing = {"frames", "length", "scores"} - set(arrays)
    if missing:
        raise BundleError(f"{path} is damaged: it has no {', '.join(sorted(missing))}")
    return arrays


def stage_tensors(arrays: dict[str, np.ndarray]) -> Tensors:
    """Every stage's inputs and outputs in the golden clip, by stage; the stages of the network that made it."""
    frames, head = arrays["frames"], {n: a for n, a in arrays.items() if n not in ("frames", "flow")}
    tensors: Tensors = {"head": head}
    if "infrared_features" in arrays:
        tensors["infrared_tower"] = {"frames": frames, "features": arrays["infrared_features"]}
    if "flow" in arrays and "flow_features" in arrays:
        flow = arrays["flow"]
        tensors["fen"] = {"frames": frames, "flow": flow[:-1]}
        tensors["flow_tower"] = {"flow": flow, "features": arrays["flow_features"]}
    return with_network(tensors, frames)


def with_network(tensors: Tensors, frames: np.ndarray) -> Tensors:
    """The same with the stage `network`, all others joined: frames in, scores out."""
    head = tensors["head"]
    return tensors | {"network": {"frames": frames, "length": head["length"], "scores": head["scores"]}}

"""The golden clip: a small clip in a bundle with the network's outputs, to check a device without torch or data.

`golden.npz` contains `frames` uint8 [T, S, S]; `flow` float32 [T, c, h, w], the last one zero; `infrared_features`,
`flow_features` float32 [T', d]; `length` int64 [1]; `scores` float32 [T', C]. A network of one stream lacks the other's
arrays.
"""

import zipfile

import numpy as np

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import BundleError

GOLDEN = "golden.npz"

Tensors = dict[str, dict[str, np.ndarray]]  # by stage, then by tensor name


def load_golden(bundle: Bundle) -> dict[str, np.ndarray]:
    """The arrays of a bundle's golden clip. Raises BundleError if it is missing or damaged."""
    path = bundle.path / GOLDEN
    if not path.is_file():
        raise BundleError(f"{bundle.path} has no {GOLDEN} to test itself with; export it again with this version")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is damaged: {error}") from None
    if missing := {"frames", "length", "scores"} - arrays.keys():
        raise BundleError(f"{path} is damaged: it has no {', '.join(sorted(missing))}")
    return arrays


def stage_tensors(arrays: dict[str, np.ndarray]) -> Tensors:
    """The inputs and outputs of the network's stages on the golden clip."""
    frames = arrays["frames"]
    tensors: Tensors = {"head": {name: array for name, array in arrays.items() if name not in ("frames", "flow")}}
    if "infrared_features" in arrays:
        tensors["infrared_tower"] = {"frames": frames, "features": arrays["infrared_features"]}
    if "flow" in arrays and "flow_features" in arrays:
        flow = arrays["flow"]
        tensors["fen"] = {"frames": frames, "flow": flow[:-1]}
        tensors["flow_tower"] = {"flow": flow, "features": arrays["flow_features"]}
    return with_network(tensors, frames)


def with_network(tensors: Tensors, frames: np.ndarray) -> Tensors:
    """Add the tensors of `network`, all stages joined: frames in, scores out."""
    head = tensors["head"]
    return tensors | {"network": {"frames": frames, "length": head["length"], "scores": head["scores"]}}

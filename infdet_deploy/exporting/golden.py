"""Writes a bundle's golden clip; what is in it is told where it is read, in `runtime.golden`."""

from pathlib import Path

import numpy as np

from infdet_deploy.bundle.golden import GOLDEN, Tensors

GOLDEN_FRAMES = 64
GOLDEN_SEED = 64


def write_golden(folder: Path, frames: np.ndarray, tensors: Tensors) -> Path:
    """Write `golden.npz` into `folder`; frames: uint8 [T, S, S]; tensors: what the network makes of them, by stage."""
    arrays = {"frames": frames, **tensors["head"]}
    if "flow_tower" in tensors:
        arrays["flow"] = tensors["flow_tower"]["flow"]
    path = folder / GOLDEN
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path

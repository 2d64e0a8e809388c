"""How close an exported stage must come to the network, and how closeness is measured."""

from typing import NamedTuple

import numpy as np

# Relative L2 from the eager network. PyTorch's float16 kernels on a CPU also add up in float16.
_TOLERANCE = {
    "onnx": {"float32": 1e-4, "float16": 1e-2, "int8": 5e-2},
    "torchscript": {"float32": 1e-4, "float16": 3e-2},
}
CHECK_FRAMES = (16, 44, 100)  # lengths of the clips that stages are compared on


class Errors(NamedTuple):
    """max_abs: largest absolute error; relative_l2: ‖ours − reference‖ / ‖reference‖; cosine of the two."""

    max_abs: float
    relative_l2: float
    cosine: float


def compare(ours: np.ndarray, reference: np.ndarray) -> Errors:
    """Compare two arrays in float64; NaN, which passes no tolerance, for another shape or a NaN."""
    if ours.shape != reference.shape:
        return Errors(*(float("nan"),) * 3)
    a, b = ours.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    norm_a, norm_b = max(float(np.linalg.norm(a)), 1e-30), max(float(np.linalg.norm(b)), 1e-30)
    return Errors(float(np.abs(a - b).max()), float(np.linalg.norm(a - b)) / norm_b, float(a @ b) / (norm_a * norm_b))


def tolerance(form: str, precision: str) -> float:
    """The relative L2 that a stage in this format (`onnx`, `torchscript`) and precision may have."""
    return _TOLERANCE[form][precision]

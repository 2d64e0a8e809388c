"""Errors of exported stages against the network, and their tolerances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, isnan, log10, nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infdet_deploy.errors import UsageError

PRECISIONS = ("float32", "bfloat16", "float16", "int8")
# Relative L2 of a stage's output against the eager network's, both fed the network's own input. PyTorch's float16
# kernels on a CPU also accumulate in float16.
_STAGE = {
    "onnx": {"float32": 1e-4, "bfloat16": 1e-1, "float16": 1e-2, "int8": 5e-2},
    "torchscript": {"float32": 1e-4, "bfloat16": 1e-1, "float16": 3e-2},
}
# Largest absolute error of a score, from frames to scores.
_SCORES = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3, "int8": 3e-2}
CHECK_FRAMES = (16, 44, 100)  # lengths of the generated clips on which stages are compared


class Errors(NamedTuple):
    """The error of an array against a reference.

    max_abs: largest absolute error. relative_l2: ‖ours − reference‖ / ‖reference‖. cosine: of the two arrays. snr_db:
    20·log10(‖reference‖ / ‖ours − reference‖), infinite without an error. nonfinite: our NaN and infinite values.
    """

    max_abs: float
    relative_l2: float
    cosine: float
    snr_db: float
    nonfinite: int


NOT_COMPARED = Errors(nan, nan, nan, nan, 0)  # within no tolerance


def compare(ours: npt.NDArray[Any], reference: npt.NDArray[Any]) -> Errors:
    """Compare two arrays in float64. Errors are NaN, within no tolerance, for different shapes and NaN values."""
    nonfinite = int(np.count_nonzero(~np.isfinite(ours)))
    if ours.shape != reference.shape:
        return NOT_COMPARED._replace(nonfinite=nonfinite)
    a, b = ours.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    with np.errstate(invalid="ignore", over="ignore"):
        norm_a, norm_b = max(float(np.linalg.norm(a)), 1e-30), max(float(np.linalg.norm(b)), 1e-30)
        relative = float(np.linalg.norm(a - b)) / norm_b
        largest, cosine = float(np.abs(a - b).max(initial=0.0)), float(a @ b) / (norm_a * norm_b)
    snr_db = inf if relative == 0 else -20 * log10(relative) if relative > 0 else nan
    return Errors(largest, relative, cosine, snr_db, nonfinite)


def tolerance(file_format: str, precision: str) -> float:
    """The relative L2 allowed for a stage in this file format (`onnx`, `torchscript`) and precision."""
    return _STAGE[file_format][precision]


@dataclass(frozen=True)
class Tolerances:
    """The table of tolerances, with some of them replaced.

    changed: `PRECISION` → relative L2 of its stages in every file format; `PRECISION.scores` → largest absolute error
    of its scores from frames to scores. Raises UsageError for other keys and values.
    """

    changed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.changed.items():
            precision, dot, what = name.partition(".")
            if precision not in _SCORES or (dot and what != "scores"):
                raise UsageError(
                    f"tolerance {name}: expected PRECISION or PRECISION.scores with a precision of "
                    f"{', '.join(_SCORES)}, such as float16=1e-2"
                )
            if not (isfinite(value) and value >= 0):
                raise UsageError(f"tolerance {name}: got {value}, expected a number of 0 or more")

    def stage(self, file_format: str, precision: str) -> float:
        """The relative L2 allowed for a stage in this file format and precision; NaN if there is no such stage."""
        default = _STAGE[file_format].get(precision, nan)
        return default if isnan(default) else self.changed.get(precision, default)

    def scores(self, precision: str) -> float:
        """The largest absolute error allowed for a score, 0–1."""
        return self.changed.get(f"{precision}.scores", _SCORES.get(precision, nan))

    def table(self) -> dict[str, dict[str, float]]:
        """Precision → file format, or `scores` → tolerance; NaN for a file format without this precision."""
        return {
            precision: {name: self.stage(name, precision) for name in _STAGE} | {"scores": self.scores(precision)}
            for precision in _SCORES
        }


def parse_tolerances(items: Sequence[str]) -> Tolerances:
    """`float16=1e-2` and `float16.scores=5e-3` → Tolerances. Raises UsageError for anything else."""
    changed = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            changed[name] = float(text)
        except ValueError:
            raise UsageError(f"tolerance {item}: '{text}' is no number; expected for example float16=1e-2") from None
    return Tolerances(changed)

"""How close an exported stage must come to the network, and how closeness is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log10, nan
from typing import NamedTuple

import numpy as np

from infdet_deploy.errors import UsageError

PRECISIONS = ("float32", "bfloat16", "float16", "int8")
# Relative L2 of one stage's output from the eager network's, both fed with the network's own input.
# PyTorch's float16 kernels on a CPU also add up in float16.
_STAGE = {
    "onnx": {"float32": 1e-4, "bfloat16": 1e-1, "float16": 1e-2, "int8": 5e-2},
    "torchscript": {"float32": 1e-4, "bfloat16": 1e-1, "float16": 3e-2, "int8": 5e-2},
}
# Largest absolute error of a score, from frames to scores.
_SCORES = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3, "int8": 3e-2}
CHECK_FRAMES = (16, 44, 100)  # lengths of the clips that stages are compared on


class Errors(NamedTuple):
    """How far one array is from another.

    max_abs: largest absolute error; relative_l2: ‖ours − reference‖ / ‖reference‖; cosine of the two; snr_db:
    20·log10(‖reference‖ / ‖ours − reference‖), infinite without an error; nonfinite: how many of ours are NaN or
    infinite.
    """

    max_abs: float
    relative_l2: float
    cosine: float
    snr_db: float
    nonfinite: int


NOT_COMPARED = Errors(nan, nan, nan, nan, 0)  # where there is nothing to compare: passes no tolerance


def compare(ours: np.ndarray, reference: np.ndarray) -> Errors:
    """Compare two arrays in float64; NaN, which passes no tolerance, for another shape or a NaN."""
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


def tolerance(form: str, precision: str) -> float:
    """The relative L2 that a stage in this format (`onnx`, `torchscript`) and precision may have."""
    return _STAGE[form][precision]


@dataclass(frozen=True)
class Tolerances:
    """The table of tolerances, with what was asked for in the place of some of them.

    changed: `PRECISION` → relative L2 of its stages in every format; `PRECISION.scores` → largest absolute error of its
    scores from frames to scores.
    """

    changed: Mapping[str, float] = field(default_factory=dict)

    def stage(self, form: str, precision: str) -> float:
        """The relative L2 that a stage in this format and precision may have."""
        return self.changed.get(precision, _STAGE[form].get(precision, nan))

    def scores(self, precision: str) -> float:
        """The largest absolute error, 0–1, that a score may have."""
        return self.changed.get(f"{precision}.scores", _SCORES.get(precision, nan))

    def table(self) -> dict[str, dict[str, float]]:
        """Precision → format, or `scores` → tolerance."""
        return {
            precision: {form: self.stage(form, precision) for form in _STAGE} | {"scores": self.scores(precision)}
            for precision in _SCORES
        }


def parse_tolerances(items: Sequence[str]) -> Tolerances:
    """`float16=1e-2` and `float16.scores=5e-3` → Tolerances; UsageError for anything else."""
    changed = {}
    for item in items:
        name, _, text = item.partition("=")
        precision, dot, what = name.partition(".")
        if precision not in _SCORES or (dot and what != "scores"):
            raise UsageError(
                f"--tolerance {item}: expected PRECISION=VALUE or PRECISION.scores=VALUE with a precision of "
                f"{', '.join(_SCORES)}, such as float16=1e-2"
            )
        try:
            value = float(text)
        except ValueError:
            value = nan
        if not (isfinite(value) and value >= 0):
            raise UsageError(f"--tolerance {item}: '{text}' is no number of 0 or more, such as float16=1e-2")
        changed[name] = value
    return Tolerances(changed)

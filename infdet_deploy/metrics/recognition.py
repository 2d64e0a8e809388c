"""Metrics for recognition of trimmed clips: accuracy, mean average precision, confusion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from infdet_deploy.errors import UsageError


def average_precision(scores: ArrayLike, positive: ArrayLike) -> float:
    """Mean of the precision at each positive clip, clips ranked by falling score; ties keep their order.

    scores: real [N]. positive: bool [N], at least one True, else UsageError.
    """
    ranked = np.asarray(positive, bool)[np.argsort(-np.asarray(scores, np.float64), kind="stable")]
    if not ranked.any():
        raise UsageError("average precision of a class without clips is not defined")
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


@dataclass(frozen=True)
class Recognition:
    """accuracy: share of clips whose highest score is their class's. map: mean of `ap` over the classes with clips.

    ap: average precision by class, None for a class without clips. confusion: true class → predicted class → clips.
    """

    accuracy: float
    map: float
    ap: dict[str, float | None]
    confusion: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_recognition(scores: ArrayLike, labels: Sequence[str], classes: Sequence[str]) -> Recognition:
    """Evaluate clips by their scores [N, C]; labels: the true classes of the N clips.

    Raises UsageError without clips and for a label that is not one of the classes.
    """
    values = np.asarray(scores, np.float64).reshape(-1, len(classes))
    if not labels or len(labels) != len(values):
        raise UsageError(f"{len(values)} scored clips for {len(labels)} labels; expected equal numbers, at least one")
    for label in labels:
        if label not in classes:
            raise UsageError(f"class '{label}' is not one of {', '.join(classes)}")
    taken = [classes[index] for index in values.argmax(axis=1)]
    confusion = {
        label: {other: sum(pair == (label, other) for pair in zip(labels, taken, strict=True)) for other in classes}
        for label in classes
    }
    ap = {
        label: average_precision(values[:, index], [one == label for one in labels]) if label in labels else None
        for index, label in enumerate(classes)
    }
    known = [value for value in ap.values() if value is not None]
    right = sum(one == other for one, other in zip(labels, taken, strict=True))
    return Recognition(right / len(labels), float(np.mean(known)), ap, confusion)

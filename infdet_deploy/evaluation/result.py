"""The result of `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infdet_deploy.datasets.instances import Clip, ScoredInstance
from infdet_deploy.metrics.average_precision import (
    MeanAveragePrecision,
    Protocol,
    Ranking,
    labels_of,
    mean_average_precision,
    precision_recall,
)
from infdet_deploy.metrics.breakdown import IOU, Breakdown, breakdown
from infdet_deploy.metrics.recognition import Recognition

Kind = Literal["detections", "checkpoint", "bundle"]


@dataclass(frozen=True)
class DetectionMetrics:
    """classes: evaluated labels. instances, detections: how many there are. protocols: mean average precision.

    rankings: the points of the precision-recall curves at IoU 0.5, by protocol and class. errors: error breakdown.
    """

    classes: tuple[str, ...]
    instances: int
    detections: int
    protocols: dict[Protocol, MeanAveragePrecision]
    rankings: dict[Protocol, dict[str, Ranking]]
    errors: Breakdown

    def to_dict(self) -> dict[str, Any]:
        curves: dict[str, Any] = {"iou": self.errors.iou}
        for protocol, rankings in self.rankings.items():
            curves[protocol] = {
                label: {"score": r.scores.tolist(), "precision": r.precision.tolist(), "recall": r.recall.tolist()}
                for label, r in rankings.items()
            }
        return {
            "classes": list(self.classes),
            "instances": self.instances,
            "detections": self.detections,
            "protocols": {name: {"map": found.map, "ap": found.ap} for name, found in self.protocols.items()},
            "precision_recall": curves,
            "errors": self.errors.to_dict(),
        }


def detection_metrics(
    clips: Sequence[Clip],
    detections: Sequence[ScoredInstance],
    classes: Sequence[str] | None,
    protocols: Sequence[Protocol],
) -> DetectionMetrics:
    """All metrics of detections in clips; classes as for `mean_average_precision`."""
    classes = labels_of(clips, detections) if classes is None else tuple(classes)
    return DetectionMetrics(
        classes,
        sum(len(clip.instances) for clip in clips),
        len(detections),
        {name: mean_average_precision(clips, detections, name, classes) for name in protocols},
        {name: precision_recall(clips, detections, name, classes, IOU) for name in protocols},
        breakdown(clips, detections, classes),
    )


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: `detection`, or `recognition` for a network of that task.

    what: the path of the subject. data: the annotations. subset: None for all clips. clips: their number.
    thresholds: of a network, by class; thresholds_before: before fitting. losses: a checkpoint's means over the clips.
    """

    what: str
    kind: Kind
    data: str
    subset: str | None
    clips: int
    detection: DetectionMetrics | None = None
    recognition: Recognition | None = None
    thresholds: dict[str, float] | None = None
    thresholds_before: dict[str, float] | None = None
    losses: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without the entries that do not apply."""
        report: dict[str, Any] = {"what": self.what, "kind": self.kind, "data": self.data, "subset": self.subset}
        optional = {
            "thresholds_before": self.thresholds_before,
            "thresholds": self.thresholds,
            "losses": self.losses,
            "recognition": self.recognition and self.recognition.to_dict(),
        }
        report |= {name: value for name, value in optional.items() if value is not None}
        return report | {"clips": self.clips} | (self.detection.to_dict() if self.detection else {})

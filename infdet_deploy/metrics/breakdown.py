"""Error breakdown: kinds of detections, and whether the instances were found, by class.

After Hoiem et al., "Diagnosing Error in Object Detectors", ECCV 2012, and for temporal detection DETAD (Alwassel et
al., "Diagnosing Error in Temporal Action Detectors", ECCV 2018), with fewer kinds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from infdet_deploy.datasets.instances import Clip, ScoredInstance
from infdet_deploy.metrics.average_precision import (
    ambiguous_of,
    is_ambiguous,
    labels_of,
    precision_recall,
    temporal_iou,
    truth_of,
)

DETECTIONS = ("correct", "duplicate", "wrong_class", "poor_localisation", "background")
INSTANCES = ("found", "found_badly", "missed")
IOU = 0.5  # from which a detection fits an instance
LOW_IOU = 0.1  # below which the two are unrelated


@dataclass(frozen=True)
class Breakdown:
    """Counts by class and kind: `detections` by the kinds of DETECTIONS, `instances` by those of INSTANCES."""

    iou: float
    low_iou: float
    detections: dict[str, dict[str, int]]
    instances: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def breakdown(
    clips: Sequence[Clip], detections: Sequence[ScoredInstance], classes: Sequence[str] | None = None
) -> Breakdown:
    """Count each kind of detection and of instance, by class; classes as for `mean_average_precision`.

    The kind of a detection is the first of these that applies:
    1. `correct`: matched with an instance by ActivityNet's protocol at IoU 0.5.
    2. `duplicate`: IoU ≥ 0.5 with an instance of its class that a higher-scored detection matched.
    3. `wrong_class`: IoU ≥ 0.5 with an instance of another class.
    4. `poor_localisation`: 0.1 ≤ IoU < 0.5 with an instance of its class.
    5. `background`: everything else, also in a video that is not among the clips.

    Unmatched detections that share time with an ambiguous interval are not counted.

    An instance is `found` if a correct detection matched it, `found_badly` if a detection of its class has an IoU of
    0.1 or more with it, otherwise `missed`.
    """
    classes = labels_of(clips, detections) if classes is None else classes
    truths = {label: truth_of(clips, label) for label in labels_of(clips, ())}
    rankings = precision_recall(clips, detections, "activitynet", classes, IOU)
    ambiguous = ambiguous_of(clips)
    kinds: dict[str, dict[str, int]] = {label: dict.fromkeys(DETECTIONS, 0) for label in classes}
    fates: dict[str, dict[str, int]] = {label: dict.fromkeys(INSTANCES, 0) for label in classes}
    for label in classes:
        found = [detection for detection in detections if detection.label == label]
        taken: dict[int, int] = {}
        if label in rankings:
            taken = dict(zip(rankings[label].order.tolist(), rankings[label].matches.tolist(), strict=True))
        for place, detection in enumerate(found):
            if place not in taken and (label in rankings or is_ambiguous(detection, ambiguous)):
                continue
            reached = {other: _best_iou(detection, truth) for other, truth in truths.items()}
            own_iou = reached.pop(label, 0.0)
            kinds[label][_kind(taken.get(place, -1) >= 0, own_iou, max(reached.values(), default=0.0))] += 1
        for video, intervals in truths.get(label, {}).items():
            here = [place for place, detection in enumerate(found) if detection.video == video]
            overlap = temporal_iou(intervals, [(found[place].start_s, found[place].end_s) for place in here])
            matched = {taken.get(place, -1) for place in here}
            for instance, best in enumerate(np.max(overlap, axis=1, initial=0.0)):
                fate = "found" if instance in matched else "found_badly" if best >= LOW_IOU else "missed"
                fates[label][fate] += 1
    return Breakdown(IOU, LOW_IOU, kinds, fates)


def _kind(correct: bool, own_iou: float, other_iou: float) -> str:
    if correct:
        return "correct"
    if own_iou >= IOU:
        return "duplicate"
    if other_iou >= IOU:
        return "wrong_class"
    return "poor_localisation" if own_iou >= LOW_IOU else "background"


def _best_iou(detection: ScoredInstance, truth: dict[str, list[tuple[float, float]]]) -> float:
    overlap = temporal_iou([(detection.start_s, detection.end_s)], truth.get(detection.video, ()))
    return float(np.max(overlap, initial=0.0))

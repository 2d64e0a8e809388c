"""What is wrong with detections, and what became of the instances: how many of each kind, by class.

The idea is Hoiem et al.'s, "Diagnosing Error in Object Detectors", ECCV 2012, and for temporal detection that of DETAD
(Alwassel et al., "Diagnosing Error in Temporal Action Detectors", ECCV 2018). The kinds here are fewer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infdet_deploy.datasets.instances import Clip, ScoredInstance
from infdet_deploy.metrics.average_precision import labels_of, precision_recall, temporal_iou, truth_of

DETECTIONS = ("correct", "duplicate", "wrong_class", "poor_localisation", "background")
INSTANCES = ("found", "found_badly", "missed")
IOU = 0.5  # from here on a detection fits an instance
LOW_IOU = 0.1  # below, the two have nothing to do with one another


def breakdown(
    clips: Sequence[Clip], detections: Sequence[ScoredInstance], classes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Count each kind of detection and of instance, by class; classes as for `metrics.evaluate`.

    A detection is the first of these that is true of it:
    1. `correct`: it takes an instance by ActivityNet's protocol at IoU 0.5.
    2. `duplicate`: IoU ≥ 0.5 with an instance of its class, which better-scored detections have taken.
    3. `wrong_class`: IoU ≥ 0.5 with an instance of another class.
    4. `poor_localisation`: 0.1 ≤ IoU < 0.5 with an instance of its class.
    5. `background`: the rest. With 0.1 ≤ IoU < 0.5 to an instance of another class it has neither the class nor the
       place right, so it belongs here, and so does a detection in a video that is not among the clips.

    An instance is `found` when a correct detection took it; else `found_badly` when a detection of its class has an IoU
    of 0.1 or more with it; else `missed`.

    Returns `{"iou": 0.5, "low_iou": 0.1, "detections": {class: {kind: count}}, "instances": {class: {kind: count}}}`.
    """
    classes = labels_of(clips, detections) if classes is None else classes
    truths = {label: truth_of(clips, label) for label in labels_of(clips, ())}
    rankings = precision_recall(clips, detections, "activitynet", classes, IOU)
    kinds: dict[str, dict[str, int]] = {label: dict.fromkeys(DETECTIONS, 0) for label in classes}
    fates: dict[str, dict[str, int]] = {label: dict.fromkeys(INSTANCES, 0) for label in classes}
    for label in classes:
        found = [detection for detection in detections if detection.label == label]
        taken: dict[int, int] = {}
        if label in rankings:
            taken = dict(zip(rankings[label].order.tolist(), rankings[label].matches.tolist(), strict=True))
        for place, detection in enumerate(found):
            reached = {other: _best_iou(detection, truth) for other, truth in truths.items()}
            own_iou = reached.pop(label, 0.0)
            kinds[label][_kind(taken.get(place, -1) >= 0, own_iou, max(reached.values(), default=0.0))] += 1
        for video, intervals in truths.get(label, {}).items():
            here = [place for place, detection in enumerate(found) if detection.video == video]
            overlap = temporal_iou(intervals, [(found[place].start_s, found[place].end_s) for place in here])
            matched = {taken[place] for place in here}
            for instance, best in enumerate(np.max(overlap, axis=1, initial=0.0)):
                fate = "found" if instance in matched else "found_badly" if best >= LOW_IOU else "missed"
                fates[label][fate] += 1
    return {"iou": IOU, "low_iou": LOW_IOU, "detections": kinds, "instances": fates}


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

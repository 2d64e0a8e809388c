"""Mean average precision at temporal IoU, by the THUMOS'14 and the ActivityNet protocol.

The two differ in who chooses: in THUMOS'14's kit (TH14evaldet, as the InfDet authors use it) each ground-truth
instance takes a detection, in ActivityNet's evaluation code each detection takes an instance. They also differ at an
IoU equal to the threshold and in how precision is averaged, so numbers of one protocol do not compare with the other's.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal

import numpy as np

from infdet_deploy.annotations import Clip, ScoredInstance
from infdet_deploy.errors import AnnotationError, UsageError

Protocol = Literal["thumos14", "activitynet"]
Truth = Mapping[str, Sequence[tuple[float, float]]]

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def temporal_iou(first: Any, second: Any) -> np.ndarray:
    """Intersection over union of every interval of one list with every interval of another.

    first [N, 2], second [M, 2]: start and end in seconds, any real dtype. Returns float64 [N, M], 0–1; intervals that
    only touch have 0.
    """
    a = np.asarray(first, dtype=np.float64).reshape(-1, 2)[:, None]
    b = np.asarray(second, dtype=np.float64).reshape(-1, 2)[None]
    common = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])  # the union, where they overlap
    return np.divide(common, hull, out=np.zeros(common.shape), where=common > 0)


def average_precision_thumos14(truth: Truth, detections: Sequence[ScoredInstance], iou: float) -> float:
    """Average precision of one class as THUMOS'14's evaluation kit computes it.

    truth: the class's instances as (start_s, end_s) by video, in the order of the annotation file, which matters: each
    in turn takes the free detection of its video with the largest IoU, if that is strictly above `iou`. Of equal IoUs
    the detection with the higher score is taken, then the one that comes first in `detections` (one class only, any
    order of videos). Detections not taken are false positives, also in videos without an instance. All are ranked by
    falling score; ties stand by video name, then in their order within the video. AP is the sum of the precision at
    each true positive over the number of instances: 0 without detections. Raises UsageError where truth is empty.
    """
    total = _count(truth)
    scores: list[float] = []
    hits: list[bool] = []
    for video, found in sorted(_by_video(detections).items()):
        found = sorted(found, key=lambda detection: -detection.score)
        overlap = temporal_iou(truth.get(video, ()), [(d.start_s, d.end_s) for d in found])
        taken = np.zeros(len(found), dtype=bool)
        for row in overlap:
            row = np.where(taken, -1.0, row)
            best = int(row.argmax())
            taken[best] |= row[best] > iou
        scores += [detection.score for detection in found]
        hits += taken.tolist()
    ranked = np.array(hits, dtype=bool)[np.argsort(-np.array(scores), kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].sum() / total)


def average_precision_activitynet(truth: Truth, detections: Sequence[ScoredInstance], iou: float) -> float:
    """Average precision of one class as ActivityNet's evaluation code computes it.

    truth: the class's instances as (start_s, end_s) by video. The detections (one class only) of all videos are taken
    by falling score; each gets the free instance of its video with the largest IoU, if that is `iou` or more, else it
    is a false positive. AP is the area under the precision-recall curve with precision made non-increasing
    (`interpolated_prec_rec`): 0 without detections. The original leaves ties to an unstable sort; here detections of
    equal score keep their order, and of equal IoUs the first instance is taken. Raises UsageError where truth is empty.
    """
    total = _count(truth)
    ranked = sorted(detections, key=lambda detection: -detection.score)
    free = {video: np.ones(len(intervals), dtype=bool) for video, intervals in truth.items()}
    hits = np.zeros(len(ranked), dtype=bool)
    for rank, detection in enumerate(ranked):
        if not truth.get(detection.video):
            continue
        overlap = temporal_iou([(detection.start_s, detection.end_s)], truth[detection.video])[0]
        overlap = np.where(free[detection.video], overlap, -1.0)
        best = int(overlap.argmax())
        if overlap[best] >= iou:
            hits[rank] = True
            free[detection.video][best] = False
    true = np.cumsum(hits)
    precision = np.concatenate([[0.0], true / np.arange(1, len(hits) + 1), [0.0]])
    recall = np.concatenate([[0.0], true / total, [1.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * precision[1:]))


def evaluate(
    clips: Sequence[Clip],
    detections: Sequence[ScoredInstance],
    protocol: Protocol,
    classes: Sequence[str] | None = None,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> dict[str, Any]:
    """Average precision of every class at every IoU threshold, and their mean over classes.

    classes: the labels to evaluate, others are ignored; None takes every label of the clips and the detections, by
    name. A class without an instance in the clips has AP null and is left out of the mean. Detections in videos that
    are not among the clips count as false positives. THUMOS'14's `Ambiguous` intervals get no special treatment.

    Returns `{"protocol": "thumos14", "map": {"0.1": 0.42, …}, "ap": {"drop": {"0.1": 0.51, …}, …}}`, values 0–1.
    Raises UsageError for an unknown protocol or thresholds outside 0–1 (0 excluded); AnnotationError where no class
    has an instance or a detection's times or score are not finite.
    """
    protocols = {"thumos14": average_precision_thumos14, "activitynet": average_precision_activitynet}
    if protocol not in protocols:
        raise UsageError(f"protocol is {protocol!r}, expected one of {', '.join(protocols)}")
    if not thresholds or not all(0 < iou <= 1 for iou in thresholds):
        raise UsageError(f"IoU thresholds are {list(thresholds)}, expected numbers above 0, up to 1")
    for detection in detections:
        if not all(map(isfinite, (detection.start_s, detection.end_s, detection.score))):
            raise AnnotationError(f"video '{detection.video}': got {detection}, expected finite numbers")
    if classes is None:
        labels = {instance.label for clip in clips for instance in clip.instances}
        classes = sorted(labels | {detection.label for detection in detections})
    ap: dict[str, dict[str, float | None]] = {}
    for label in classes:
        truth: dict[str, list[tuple[float, float]]] = {}
        for clip in clips:
            for instance in clip.instances:
                if instance.label == label:
                    truth.setdefault(clip.name, []).append((instance.start_s, instance.end_s))
        found = [detection for detection in detections if detection.label == label]
        ap[label] = {_key(iou): protocols[protocol](truth, found, iou) if truth else None for iou in thresholds}
    means = {}
    for iou in map(_key, thresholds):
        values = [value for value in (per_iou[iou] for per_iou in ap.values()) if value is not None]
        if not values:
            raise AnnotationError(f"no instance of {', '.join(classes) or 'any class'} in {len(clips)} clips")
        means[iou] = float(np.mean(values))
    return {"protocol": protocol, "map": means, "ap": ap}


def _key(iou: float) -> str:
    return f"{iou:g}"


def _count(truth: Truth) -> int:
    total = sum(len(intervals) for intervals in truth.values())
    if total == 0:
        raise UsageError("average precision of a class without instances is not defined")
    return total


def _by_video(detections: Sequence[ScoredInstance]) -> dict[str, list[ScoredInstance]]:
    videos: dict[str, list[ScoredInstance]] = {}
    for detection in detections:
        videos.setdefault(detection.video, []).append(detection)
    return videos

"""Mean average precision at temporal IoU, by the THUMOS'14 and the ActivityNet protocol.

The two differ in who chooses: in THUMOS'14's kit (TH14evaldet, as the InfDet authors use it) each ground-truth
instance takes a detection, in ActivityNet's evaluation code each detection takes an instance. They also differ at an
IoU equal to the threshold and in how precision is averaged, so numbers of one protocol do not compare with the other's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np

from infdet_deploy.datasets.instances import Clip, ScoredInstance
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


@dataclass(frozen=True)
class Ranking:
    """One class's detections at one IoU, surest first: the points of its precision-recall curve.

    order: int [N], each detection's place among those given. scores: float64 [N], falling. matches: int [N], the
    instance that each was matched with, by its place in its video's truth, −1 for a false positive. instances: how many
    true instances there are.
    """

    order: np.ndarray
    scores: np.ndarray
    matches: np.ndarray
    instances: int

    @property
    def hits(self) -> np.ndarray:
        """bool [N]: true positives."""
        return self.matches >= 0

    @property
    def precision(self) -> np.ndarray:
        """float64 [N], 0–1: the share of true positives among the detections so far."""
        return np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1)

    @property
    def recall(self) -> np.ndarray:
        """float64 [N], 0–1: the share of the instances found so far."""
        return np.cumsum(self.hits) / self.instances


def rank_thumos14(truth: Truth, detections: Sequence[ScoredInstance], iou: float) -> Ranking:
    """Rank and match one class's detections as THUMOS'14's evaluation kit does.

    truth: the class's instances as (start_s, end_s) by video, in the order of the annotation file, which matters: each
    in turn takes the free detection of its video with the largest IoU, if that is strictly above `iou`. Of equal IoUs
    the detection with the higher score is taken, then the one that comes first in `detections` (one class only, any
    order of videos). Detections not taken are false positives, also in videos without an instance. All are ranked by
    falling score; ties stand by video name, then in their order within the video. Raises UsageError where truth is
    empty.
    """
    total = _count(truth)
    videos: dict[str, list[int]] = {}
    for place, detection in enumerate(detections):
        videos.setdefault(detection.video, []).append(place)
    order: list[int] = []
    matches: list[int] = []
    for video, places in sorted(videos.items()):
        places.sort(key=lambda place: -detections[place].score)
        overlap = temporal_iou(truth.get(video, ()), [_ends(detections[place]) for place in places])
        taken = np.full(len(places), -1)
        for instance, row in enumerate(overlap):
            row = np.where(taken >= 0, -1.0, row)
            best = int(row.argmax())
            if row[best] > iou:
                taken[best] = instance
        order += places
        matches += taken.tolist()
    scores = np.array([detections[place].score for place in order], dtype=np.float64)
    ranks = np.argsort(-scores, kind="stable")
    return Ranking(np.array(order, dtype=int)[ranks], scores[ranks], np.array(matches, dtype=int)[ranks], total)


def rank_activitynet(truth: Truth, detections: Sequence[ScoredInstance], iou: float) -> Ranking:
    """Rank and match one class's detections as ActivityNet's evaluation code does.

    truth: the class's instances as (start_s, end_s) by video. The detections (one class only) of all videos are taken
    by falling score; each gets the free instance of its video with the largest IoU, if that is `iou` or more, else it
    is a false positive. The original leaves ties to an unstable sort; here detections of equal score keep their order,
    and of equal IoUs the first instance is taken. Raises UsageError where truth is empty.
    """
    total = _count(truth)
    scores = np.array([detection.score for detection in detections], dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    free = {video: np.ones(len(intervals), dtype=bool) for video, intervals in truth.items()}
    matches = np.full(len(order), -1)
    for rank, place in enumerate(order):
        detection = detections[place]
        if not truth.get(detection.video):
            continue
        overlap = temporal_iou([_ends(detection)], truth[detection.video])[0]
        overlap = np.where(free[detection.video], overlap, -1.0)
        best = int(overlap.argmax())
        if overlap[best] >= iou:
            matches[rank] = best
            free[detection.video][best] = False
    return Ranking(order, scores[order], matches, total)


def average_precision_thumos14(truth: Truth, detections: Sequence[ScoredInstance], iou: float) -> float:
    """Average precision of one class as THUMOS'14's evaluation kit computes it; arguments as for `rank_thumos14`.

    The sum of the precision at each true positive over the number of instances: 0 without detections.
    """
    ranking = rank_thumos14(truth, detections, iou)
    return float(ranking.precision[ranking.hits].sum() / ranking.instances)


def average_precision_activitynet(truth: Truth, detections: Sequence[ScoredInstance], iou: float) -> float:
    """Average precision of one class as ActivityNet's evaluation code does; arguments as for `rank_activitynet`.

    The area under the precision-recall curve with precision made non-increasing (`interpolated_prec_rec`): 0 without
    detections.
    """
    ranking = rank_activitynet(truth, detections, iou)
    precision = np.concatenate([[0.0], ranking.precision, [0.0]])
    recall = np.concatenate([[0.0], ranking.recall, [1.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * precision[1:]))


def precision_recall(
    clips: Sequence[Clip],
    detections: Sequence[ScoredInstance],
    protocol: Protocol,
    classes: Sequence[str] | None = None,
    iou: float = 0.5,
) -> dict[str, Ranking]:
    """The ranking of every class that has an instance in the clips; classes and protocol as for `evaluate`."""
    rank = {"thumos14": rank_thumos14, "activitynet": rank_activitynet}[protocol]
    rankings = {}
    for label in labels_of(clips, detections) if classes is None else classes:
        if truth := truth_of(clips, label):
            rankings[label] = rank(truth, [found for found in detections if found.label == label], iou)
    return rankings


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
    classes = labels_of(clips, detections) if classes is None else classes
    ap: dict[str, dict[str, float | None]] = {}
    for label in classes:
        truth = truth_of(clips, label)
        found = [detection for detection in detections if detection.label == label]
        ap[label] = {_key(iou): protocols[protocol](truth, found, iou) if truth else None for iou in thresholds}
    means = {}
    for iou in map(_key, thresholds):
        values = [value for value in (per_iou[iou] for per_iou in ap.values()) if value is not None]
        if not values:
            raise AnnotationError(f"no instance of {', '.join(classes) or 'any class'} in {len(clips)} clips")
        means[iou] = float(np.mean(values))
    return {"protocol": protocol, "map": means, "ap": ap}


def labels_of(clips: Sequence[Clip], detections: Sequence[ScoredInstance]) -> tuple[str, ...]:
    """Every label of the clips and the detections, by name."""
    labels = {instance.label for clip in clips for instance in clip.instances}
    return tuple(sorted(labels | {detection.label for detection in detections}))


def truth_of(clips: Sequence[Clip], label: str) -> dict[str, list[tuple[float, float]]]:
    """One class's instances as (start_s, end_s) by video; videos without one are missing."""
    truth: dict[str, list[tuple[float, float]]] = {}
    for clip in clips:
        for instance in clip.instances:
            if instance.label == label:
                truth.setdefault(clip.name, []).append((instance.start_s, instance.end_s))
    return truth


def _key(iou: float) -> str:
    return f"{iou:g}"


def _count(truth: Truth) -> int:
    total = sum(len(intervals) for intervals in truth.values())
    if total == 0:
        raise UsageError("average precision of a class without instances is not defined")
    return total


def _ends(detection: ScoredInstance) -> tuple[float, float]:
    return detection.start_s, detection.end_s

"""Mean average precision at temporal IoU, by the THUMOS'14 and the ActivityNet protocol.

In THUMOS'14's kit (TH14evaldet, which the InfDet authors use) each annotated instance selects a detection; in
ActivityNet's evaluation code each detection selects an instance. The protocols also treat an IoU equal to the threshold
differently and average precision differently, so their numbers do not compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from infdet_deploy.datasets.instances import Clip, ScoredInstance
from infdet_deploy.errors import AnnotationError, UsageError

Protocol = Literal["thumos14", "activitynet"]
Truth = Mapping[str, Sequence[tuple[float, float]]]

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def temporal_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of every interval of one list with every interval of another.

    first [N, 2], second [M, 2]: start and end in seconds. Returns float64 [N, M], 0–1; 0 for intervals that only touch.
    """
    a = np.asarray(first, dtype=np.float64).reshape(-1, 2)[:, None]
    b = np.asarray(second, dtype=np.float64).reshape(-1, 2)[None]
    common = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])  # the union, where they overlap
    iou: npt.NDArray[np.float64] = np.divide(common, hull, out=np.zeros(common.shape), where=common > 0)
    return iou


@dataclass(frozen=True)
class Ranking:
    """One class's detections at one IoU by falling score: the points of its precision-recall curve.

    order: int [N], each detection's index in the input, which may have more. scores: float64 [N], falling. matches: int
    [N], the matched instance as an index in its video's truth, −1 for a false positive. instances: number of annotated
    instances.
    """

    order: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    matches: npt.NDArray[np.int64]
    instances: int

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """bool [N]: true positives."""
        return self.matches >= 0

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """float64 [N], 0–1: share of true positives among the detections so far."""
        return np.asarray(np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1))

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """float64 [N], 0–1: share of the instances found so far."""
        return np.asarray(np.cumsum(self.hits) / self.instances)


def rank_thumos14(
    truth: Truth, detections: Sequence[ScoredInstance], iou: float, ambiguous: Truth | None = None
) -> Ranking:
    """Rank and match one class's detections as THUMOS'14's evaluation kit does.

    truth: the class's instances as (start_s, end_s) by video, in the order of the annotation file, which matters: each
    in turn selects the unmatched detection of its video with the largest IoU, if that is strictly above `iou`. Ties in
    IoU go to the higher score, then to the first in `detections` (one class only, any order of videos). All other
    detections are false positives. The ranking is by falling score; ties are ordered by video name, then as in the
    input. ambiguous: intervals by video; false positives that share time with one are left out. Raises UsageError if
    truth is empty.
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
    ranking = Ranking(np.array(order, dtype=int)[ranks], scores[ranks], np.array(matches, dtype=int)[ranks], total)
    return _without_ambiguous(ranking, detections, ambiguous or {})


def rank_activitynet(
    truth: Truth, detections: Sequence[ScoredInstance], iou: float, ambiguous: Truth | None = None
) -> Ranking:
    """Rank and match one class's detections as ActivityNet's evaluation code does.

    truth: the class's instances as (start_s, end_s) by video. By falling score, each detection (one class only) selects
    the unmatched instance of its video with the largest IoU, if that is `iou` or more; otherwise it is a false
    positive. The original leaves ties to an unstable sort; here detections of equal score keep their order, and ties in
    IoU go to the first instance. ambiguous: as for `rank_thumos14`. Raises UsageError if truth is empty.
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
    return _without_ambiguous(Ranking(order, scores[order], matches, total), detections, ambiguous or {})


def is_ambiguous(detection: ScoredInstance, ambiguous: Truth) -> bool:
    """Whether a detection shares time with an ambiguous interval of its video."""
    return bool(np.any(temporal_iou(ambiguous.get(detection.video, ()), [_ends(detection)]) > 0))


def _without_ambiguous(ranking: Ranking, detections: Sequence[ScoredInstance], ambiguous: Truth) -> Ranking:
    """The ranking without false positives that share time with an ambiguous interval, as THUMOS'14's kit does it."""
    if not ambiguous:
        return ranking
    on = [is_ambiguous(detections[place], ambiguous) for place in ranking.order]
    kept = ranking.hits | ~np.array(on, dtype=bool)
    return Ranking(ranking.order[kept], ranking.scores[kept], ranking.matches[kept], ranking.instances)


def average_precision_thumos14(
    truth: Truth, detections: Sequence[ScoredInstance], iou: float, ambiguous: Truth | None = None
) -> float:
    """Average precision of one class as THUMOS'14's evaluation kit computes it; arguments as for `rank_thumos14`.

    The sum of the precision at each true positive over the number of instances: 0 without detections.
    """
    ranking = rank_thumos14(truth, detections, iou, ambiguous)
    return float(ranking.precision[ranking.hits].sum() / ranking.instances)


def average_precision_activitynet(
    truth: Truth, detections: Sequence[ScoredInstance], iou: float, ambiguous: Truth | None = None
) -> float:
    """Average precision of one class as ActivityNet's evaluation code does; arguments as for `rank_activitynet`.

    The area under the precision-recall curve with precision made non-increasing (`interpolated_prec_rec`): 0 without
    detections.
    """
    ranking = rank_activitynet(truth, detections, iou, ambiguous)
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
    """The ranking of every class with an instance in the clips; arguments as for `mean_average_precision`."""
    rank = {"thumos14": rank_thumos14, "activitynet": rank_activitynet}[protocol]
    rankings, ambiguous = {}, ambiguous_of(clips)
    for label in labels_of(clips, detections) if classes is None else classes:
        if truth := truth_of(clips, label):
            rankings[label] = rank(truth, [found for found in detections if found.label == label], iou, ambiguous)
    return rankings


@dataclass(frozen=True)
class MeanAveragePrecision:
    """map: mean over classes, by IoU (`"0.1"` …). ap: by class and IoU, None for a class without instances. All 0–1."""

    protocol: Protocol
    map: dict[str, float]
    ap: dict[str, dict[str, float | None]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def mean_average_precision(
    clips: Sequence[Clip],
    detections: Sequence[ScoredInstance],
    protocol: Protocol,
    classes: Sequence[str] | None = None,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> MeanAveragePrecision:
    """Average precision of every class at every IoU threshold, and the mean over classes.

    classes: the labels to evaluate; default: every label of the clips and the detections, by name. A class without an
    instance in the clips is left out of the mean. Detections in videos that are not among the clips count as false
    positives, those that share time with a clip's `ambiguous` intervals and match nothing do not count.

    Raises UsageError for an unknown protocol or thresholds outside 0–1 (0 excluded), AnnotationError if no class has an
    instance or a detection's times or score are not finite.
    """
    if protocol not in get_args(Protocol):
        raise UsageError(f"protocol is {protocol!r}, expected one of {', '.join(get_args(Protocol))}")
    if not thresholds or not all(0 < iou <= 1 for iou in thresholds):
        raise UsageError(f"IoU thresholds are {list(thresholds)}, expected numbers above 0, up to 1")
    for detection in detections:
        if not all(map(isfinite, (detection.start_s, detection.end_s, detection.score))):
            raise AnnotationError(f"video '{detection.video}': got {detection}, expected finite numbers")
    average = average_precision_thumos14 if protocol == "thumos14" else average_precision_activitynet
    classes = labels_of(clips, detections) if classes is None else classes
    ap: dict[str, dict[str, float | None]] = {}
    ambiguous = ambiguous_of(clips)
    for label in classes:
        truth = truth_of(clips, label)
        found = [detection for detection in detections if detection.label == label]
        ap[label] = {iou_key(iou): average(truth, found, iou, ambiguous) if truth else None for iou in thresholds}
    means = {}
    for iou in map(iou_key, thresholds):
        values = [value for value in (per_iou[iou] for per_iou in ap.values()) if value is not None]
        if not values:
            raise AnnotationError(f"no instance of {', '.join(classes) or 'any class'} in {len(clips)} clips")
        means[iou] = float(np.mean(values))
    return MeanAveragePrecision(protocol, means, ap)


def iou_key(iou: float) -> str:
    """An IoU threshold as reports name it: `"0.5"`."""
    return f"{iou:g}"


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


def ambiguous_of(clips: Sequence[Clip]) -> dict[str, list[tuple[float, float]]]:
    """The clips' ambiguous intervals as (start_s, end_s) by video; videos without one are missing."""
    return {clip.name: [(one.start_s, one.end_s) for one in clip.ambiguous] for clip in clips if clip.ambiguous}


def _count(truth: Truth) -> int:
    total = sum(len(intervals) for intervals in truth.values())
    if total == 0:
        raise UsageError("average precision of a class without instances is not defined")
    return total


def _ends(detection: ScoredInstance) -> tuple[float, float]:
    return detection.start_s, detection.end_s

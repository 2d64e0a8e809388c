"""From snippet scores to detections: a detection is a run of snippets of which one is above the class's threshold.

The rule says which snippets a run has, and where it begins and ends in time:

1. `published`, InfDet's post-processing, for its weights: consecutive snippets above the threshold. Snippet j lasts
   from j to j + 1 snippets after the clip's start. `split_long` adds InfDet's treatment of long runs.
2. `interpolated`, for networks trained here: the snippets around a highest score with more than `END_SHARE` of it. The
   score of snippet j belongs to its centre, frame 8j + 8, and a run ends where the line between two scores crosses that
   level. So ends are finer than a snippet, and those of a weak action are where they would be if it were strong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from infdet_deploy.errors import ConfigError, InfdetError
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length

Ends = Literal["published", "interpolated"]
END_SHARE = 0.4  # of a run's highest score, where it begins and ends; chosen on real falls (docs/results.md)


@dataclass(frozen=True)
class Detection:
    """One action in a video: times in seconds from the video's start, score 0–1."""

    label: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class DetectionRule:
    """The rule that turns runs of snippets into detections; one entry per class, in the classes' order.

    thresholds: scores strictly above count, 0–1. mean_duration_s: the class's mean duration in the training set, in
    seconds; runs shorter than half of it are dropped (0 keeps every run). split_long: cut runs longer than twice the
    mean into two detections; only with published ends. ends: where runs begin and end, see the module's text. Raises
    ConfigError for values out of range or tuples of different lengths.
    """

    thresholds: tuple[float, ...]
    mean_duration_s: tuple[float, ...]
    split_long: bool = False
    ends: Ends = "published"

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.mean_duration_s):
            raise ConfigError(
                f"detection rule: {len(self.thresholds)} thresholds but {len(self.mean_duration_s)} mean durations, "
                "expected one of each per class"
            )
        if self.ends not in get_args(Ends):
            raise ConfigError(f"detection rule: ends is {self.ends!r}, expected one of {', '.join(get_args(Ends))}")
        for value in self.thresholds:
            if not 0 <= value <= 1:
                raise ConfigError(f"detection rule: threshold {value!r}, expected a number from 0 to 1")
        for value in self.mean_duration_s:
            if not (isfinite(value) and value >= 0):
                raise ConfigError(f"detection rule: mean duration {value!r}, expected seconds, 0 or more")

    def snippets_per_second(self, frames: int, fps: float) -> float:
        """The rate of snippets in a clip of `frames` frames at `fps`: published ⌊T/8⌋ / duration, else fps/8."""
        if self.ends == "published":
            return valid_length(frames) / (frames / fps)
        return fps / FRAMES_PER_SNIPPET


INFDET_CLASSES = ("drop", "fight", "hug")
# The published thresholds and InfDet's mean lengths of actions, by class.
_THRESHOLDS = {"drop": 0.3, "fight": 0.4, "hug": 0.3}
_INTERPOLATED_THRESHOLD = 0.3  # best balance of missed and false actions on real falls (docs/results.md)
_MEAN_DURATIONS_S = {"drop": 1.4326, "fight": 6.1230, "hug": 3.2755}


def default_thresholds(classes: Sequence[str], ends: Ends = "published") -> tuple[float, ...]:
    """The published thresholds of InfDet's classes, 0.5 for any other; with interpolated ends 0.3 for all."""
    if ends == "interpolated":
        return (_INTERPOLATED_THRESHOLD,) * len(classes)
    return tuple(_THRESHOLDS.get(label, 0.5) for label in classes)


def default_rule(classes: Sequence[str]) -> DetectionRule:
    """The rule for weights without one: InfDet's values by class name, else 0.5 and 2 s."""
    return DetectionRule(default_thresholds(classes), tuple(_MEAN_DURATIONS_S.get(label, 2.0) for label in classes))


def detect(scores: Any, classes: Sequence[str], rule: DetectionRule, snippets_per_second: float) -> list[Detection]:
    """Turn the scores of a clip's snippets into detections, ordered by class, then time.

    scores: real array [T', C], 0–1, compared as float64; classes: C names; snippets_per_second (sps): as from
    `DetectionRule.snippets_per_second`.

    Published ends: a run of consecutive snippets start…end−1 above the threshold becomes start/sps…end/sps with the
    score at (start+end)//2; a run that reaches the clip's end closes there. Interpolated ends: the score is the run's
    highest. All comparisons are strict: a score equal to the threshold is not above it, a run of exactly half the mean
    duration stays, one of exactly twice the mean is not split.
    With `split_long` a longer run becomes start…cut with the score at the middle of the whole run, and cut+1…end with
    the score at its own middle, where cut = end − int(mean·sps/2). An empty second part (cut+1 ≥ end) is omitted.

    Raises ConfigError if the rule has another number of classes, InfdetError for scores of the wrong shape or not
    finite, and for snippets_per_second that is not a positive number.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if len(rule.thresholds) != len(classes):
        raise ConfigError(f"detection rule: {len(rule.thresholds)} thresholds, expected {len(classes)}, one per class")
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        raise InfdetError(f"scores have shape {list(scores.shape)}, expected [snippets, {len(classes)} classes]")
    if not np.isfinite(scores).all():
        snippet, index = np.argwhere(~np.isfinite(scores))[0]
        raise InfdetError(
            f"score of snippet {snippet}, class {classes[index]} is {scores[snippet, index]}, "
            "expected a finite number; check the precision the network runs in"
        )
    if not (isfinite(snippets_per_second) and snippets_per_second > 0):
        raise InfdetError(f"snippets per second is {snippets_per_second!r}, expected a positive number")
    sps, detections = float(snippets_per_second), []
    for index, label in enumerate(classes):
        column, mean_s = scores[:, index], rule.mean_duration_s[index]
        for run in runs(column, rule.thresholds[index], rule.ends):
            if rule.ends == "published":
                pieces = parts(run.start, run.end, mean_s, rule.split_long, sps)
                found = [Detection(label, first / sps, last / sps, float(column[at])) for first, last, at in pieces]
                detections += found
            elif (run.stop - run.begin) / sps >= mean_s / 2:
                detections.append(Detection(label, run.begin / sps, run.stop / sps, run.score))
    return detections


class Run(NamedTuple):
    """Snippets start…end−1. begin, stop: in time, in snippets after the clip's start. score: the highest, 0–1."""

    start: int
    end: int
    begin: float
    stop: float
    score: float


def runs(column: np.ndarray, threshold: float, ends: Ends) -> list[Run]:
    """The runs of a class in order of time, see the module's text. column: float64 [T'], 0–1."""
    if ends == "published":
        edges = np.flatnonzero(np.diff(column > threshold, prepend=False, append=False))
        pairs = [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
        return [Run(start, end, start, end, float(column[start:end].max())) for start, end in pairs]
    found = []
    for peak in np.flatnonzero(column > threshold).tolist():
        highest = float(column[peak])
        level = END_SHARE * highest
        start, end = peak, peak + 1
        while start > 0 and level < column[start - 1] < highest:
            start -= 1
        while end < len(column) and level < column[end] <= highest:
            end += 1
        before, after = column[start - 1] if start > 0 else 0.0, column[end] if end < len(column) else 0.0
        if before <= level and after <= level:  # else a higher score belongs to the same run
            found.append(Run(start, end, *_crossings(column, start, end, level), highest))
    return found


def _crossings(column: np.ndarray, start: int, end: int, level: float) -> tuple[float, float]:
    """Where the line through the scores crosses the level at both ends of snippets start…end−1, in snippets after the
    clip's start. Score j belongs to position j + 1. A run at either end of the clip reaches to that end."""
    begin, stop = 0.0, float(len(column) + 1)
    if start > 0:
        inside, outside = float(column[start]), float(column[start - 1])
        begin = start + 1 - (inside - level) / (inside - outside)
    if end < len(column):
        inside, outside = float(column[end - 1]), float(column[end])
        stop = end + (inside - level) / (inside - outside)
    return begin, stop


def parts(start: int, end: int, mean_s: float, split_long: bool, sps: float) -> list[tuple[int, int, int]]:
    """The zero to two detections of a run: (start, end, snippet of the score)."""
    duration_s = (end - start) / sps
    if duration_s < mean_s / 2:
        return []
    middle = (start + end) // 2
    if not (split_long and duration_s > 2 * mean_s):
        return [(start, end, middle)]
    cut = end - int(mean_s * sps / 2)
    found = [(start, cut, middle)]
    if cut + 1 < end:
        found.append((cut + 1, end, (cut + 1 + end) // 2))
    return found


@dataclass(frozen=True)
class DetectionChanges:
    """Differences between two detection lists of the same clips.

    matched: overlapping pairs of the same class; missed, extra: unpaired; boundary_shift_s, score_shift: the largest of
    all pairs.
    """

    matched: int
    missed: int
    extra: int
    boundary_shift_s: float
    score_shift: float


def compare_detections(reference: Sequence[Detection], ours: Sequence[Detection]) -> DetectionChanges:
    """Pair the detections of one clip and measure the differences within pairs.

    Greedy: each reference detection, in order, is paired with the free overlapping detection with the nearest
    boundaries.
    """
    free = list(ours)
    boundary, score, matched = 0.0, 0.0, 0
    for one in reference:
        overlapping = [o for o in free if o.label == one.label and o.start_s < one.end_s and one.start_s < o.end_s]
        if not overlapping:
            continue
        other = min(overlapping, key=lambda o: abs(o.start_s - one.start_s) + abs(o.end_s - one.end_s))
        free.remove(other)
        matched += 1
        boundary = max(boundary, abs(other.start_s - one.start_s), abs(other.end_s - one.end_s))
        score = max(score, abs(other.score - one.score))
    return DetectionChanges(matched, len(reference) - matched, len(free), boundary, score)


def clip_score(scores: np.ndarray) -> np.ndarray:
    """Snippet scores [T', C], 0–1 → float64 [C], their mean over time: the scores of a trimmed clip (paper IV-E)."""
    mean: np.ndarray = np.asarray(scores, np.float64).mean(axis=0)
    return mean

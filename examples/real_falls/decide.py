"""Scores of frames → actions: smoothed over time, cut at a threshold, ends interpolated between frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from data_set import CLASSES
from numpy.typing import NDArray

from infdet_deploy import Clip
from infdet_deploy.datasets.instances import ScoredInstance
from infdet_deploy.detections import runs
from infdet_deploy.metrics.average_precision import average_precision_thumos14, truth_of

Scores = NDArray[np.float32]  # [T, 3], 0–1: a column for each of CLASSES

SHORTEST_S = 0.8  # shorter runs are dropped; the shortest annotated action lasts 1.3 s
_SMOOTHINGS_S = (0.15, 0.25, 0.35, 0.5)
_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 15))  # 0.1 to 0.7
_IOUS = (0.3, 0.5, 0.7)  # the mean of these average precisions selects a rule


@dataclass(frozen=True)
class Rule:
    """smooth_s: standard deviation of the Gaussian over time. thresholds: by class; scores above count, 0–1."""

    smooth_s: float
    thresholds: tuple[float, ...]

    @property
    def reach_s(self) -> float:
        """How far the smoothing looks ahead, in seconds."""
        return 2 * self.smooth_s


def detect(clip: Clip, scores: Scores, fps: float, rule: Rule) -> list[ScoredInstance]:
    """The actions of a recording whose frame i was at i / fps seconds; scores [T, 3]."""
    smoothed = smooth(scores, fps, rule.smooth_s)
    found = []
    for index, label in enumerate(CLASSES):
        found += _class_actions(clip, smoothed[:, index], label, fps, rule.thresholds[index])
    return found


def smooth(scores: Scores, fps: float, smooth_s: float) -> Scores:
    """Scores [T, 3] averaged over time by a Gaussian that ends at two standard deviations."""
    reach = int(2 * smooth_s * fps)
    if reach == 0:
        return scores
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (smooth_s * fps)) ** 2)
    padded = np.pad(scores, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, weights / weights.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=1).astype(np.float32)


def fit_rule(clips: Sequence[Clip], scores: Sequence[Scores], fps: float) -> Rule:
    """The smoothing and the thresholds with the best average precision on recordings that were not trained on."""
    best: tuple[float, Rule] | None = None
    for smooth_s in _SMOOTHINGS_S:
        smoothed = [smooth(one, fps, smooth_s) for one in scores]
        chosen = []
        for index, label in enumerate(CLASSES):
            truth = truth_of(clips, label)
            values = []
            for threshold in _THRESHOLDS:
                found: list[ScoredInstance] = []
                for clip, one in zip(clips, smoothed, strict=True):
                    found += _class_actions(clip, one[:, index], label, fps, threshold)
                values.append(np.mean([average_precision_thumos14(truth, found, iou) for iou in _IOUS]))
            chosen.append((float(max(values)), _THRESHOLDS[int(np.argmax(values))]))
        value = float(np.mean([value for value, _ in chosen]))
        if best is None or value > best[0]:
            best = value, Rule(smooth_s, tuple(threshold for _, threshold in chosen))
    assert best is not None
    return best[1]


def _class_actions(
    clip: Clip, scores: NDArray[np.float32], label: str, fps: float, threshold: float
) -> list[ScoredInstance]:
    """The runs of smoothed scores [T], with the product's ends; an action's score is the mean of its frames."""
    found = []
    for run in runs(scores, threshold, "interpolated"):
        start_s, end_s = max(run.begin - 1, 0.0) / fps, min(run.stop - 1, len(scores)) / fps  # frame j is at j / fps
        if end_s - start_s >= SHORTEST_S:
            score = float(scores[run.start : run.end].mean())
            found.append(ScoredInstance(clip.name, label, start_s, end_s, score))
    return found

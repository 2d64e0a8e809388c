"""Scored clips, their detections, and thresholds fitted to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.datasets.instances import Clip, ScoredInstance
from infdet_deploy.detections import Detection, DetectionRule, default_thresholds, detect
from infdet_deploy.errors import AnnotationError
from infdet_deploy.metrics.average_precision import ambiguous_of, average_precision_thumos14, truth_of

_GRID = tuple(round(0.025 * step, 3) for step in range(1, 37))  # thresholds tried, 0.025 to 0.9
_AP_SLACK = 0.05  # AP on the training clips given up to stay near the default threshold


@dataclass(frozen=True)
class ScoredClip:
    """annotation: the clip's instances. scores: float32 [T', C], 0–1. snippets_per_second: by the rule."""

    annotation: Clip
    scores: NDArray[np.float32]
    snippets_per_second: float

    def detect(self, classes: Sequence[str], rule: DetectionRule) -> list[Detection]:
        """The clip's detections, by class, then time; raises as `detections.detect`."""
        return detect(self.scores, classes, rule, self.snippets_per_second)


def detections(clips: Sequence[ScoredClip], classes: Sequence[str], rule: DetectionRule) -> list[ScoredInstance]:
    """The detections of all clips, for `metrics`."""
    return scored_instances((clip.annotation.name, clip.detect(classes, rule)) for clip in clips)


def scored_instances(found: Iterable[tuple[str, Sequence[Detection]]]) -> list[ScoredInstance]:
    """Pairs of a clip's name and its detections, as one list for `metrics`."""
    return [ScoredInstance(name, d.label, d.start_s, d.end_s, d.score) for name, clip in found for d in clip]


def fit_thresholds(
    clips: Sequence[ScoredClip], classes: Sequence[str], rule: DetectionRule, iou: float = 0.5
) -> tuple[float, ...]:
    """For each class the threshold nearest to the default one whose AP is within 0.05 of the best in a grid.

    rule: its mean durations and ends are used. A network scores its training clips better than others, so the best
    threshold on them is not reliable. Raises AnnotationError for a class without an instance in the clips.
    """
    default = default_thresholds(classes, rule.ends)
    fitted, annotations = [], [clip.annotation for clip in clips]
    ambiguous = ambiguous_of(annotations)
    for index, label in enumerate(classes):
        truth = truth_of(annotations, label)
        if not truth:
            raise AnnotationError(f"no instance of class '{label}' in {len(clips)} clips to fit its threshold on")
        own = [ScoredClip(c.annotation, c.scores[:, index : index + 1], c.snippets_per_second) for c in clips]
        values = []
        for threshold in _GRID:
            one = replace(rule, thresholds=(threshold,), mean_duration_s=(rule.mean_duration_s[index],))
            values.append(average_precision_thumos14(truth, detections(own, (label,), one), iou, ambiguous))
        good = [t for t, value in zip(_GRID, values, strict=True) if value >= max(values) - _AP_SLACK]
        fitted.append(min(good, key=lambda t: abs(t - default[index])))
    return tuple(fitted)

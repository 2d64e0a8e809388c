"""Comparing int8's detections with float32's: by mAP@0.5 where there are annotations, else one by one."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infdet_deploy.datasets.instances import Clip
from infdet_deploy.detections import Detection, compare_detections
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.thresholds import scored_instances
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video import Video

IOU = 0.5
MAX_SCORE_SHIFT = 3e-2

Recordings = Sequence[tuple[Video, Clip | None]]
Results = list[tuple[npt.NDArray[np.float32], list[Detection]]]  # scores [T', C] and detections of each recording


@dataclass(frozen=True)
class AccuracyCheck:
    """How int8's scores and detections differ from float32's.

    clips: number of recordings. score_shift: largest absolute change of a score. matched, missed, extra: numbers of
    detections. map_float32, map_int8: mAP@0.5, 0–1; None unless every recording is annotated.
    """

    clips: int
    score_shift: float
    matched: int
    missed: int
    extra: int
    passed: bool
    map_float32: float | None = None
    map_int8: float | None = None

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "AccuracyCheck":
        """Read a manifest's entry; ignores its other keys."""
        return cls(**{f.name: entry[f.name] for f in dataclasses.fields(cls) if f.name in entry})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without mAPs that are None."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    def summary(self) -> str:
        text = f"{self.missed} of float32's detections missed, {self.extra} extra on {self.clips} clips"
        if self.map_float32 is None or self.map_int8 is None:
            return text
        return f"mAP@0.5 {100 * self.map_int8:.2f}, float32 {100 * self.map_float32:.2f}; {text}"


def run_recordings(detector: Detector, recordings: Recordings) -> Results:
    """Scores and detections of each recording."""
    results = []
    for video, _ in recordings:
        scores = detector.scores(video.frames)
        results.append((scores, detector.detections(scores, len(video.frames), video.fps)))
    return results


def check_accuracy(
    float32: Results, int8: Results, recordings: Recordings, classes: Sequence[str], max_drop: float
) -> AccuracyCheck:
    """Compare the results of int8 with those of float32.

    The check passes when no score moves by more than 0.03 and the detections stay within `max_drop`. Where every
    recording is annotated, that is the largest loss of mAP@0.5 in points (hundredths), THUMOS'14 protocol; else the
    percentage of float32's detections that may be missed or extra, but at least one.
    """
    shift = max(float(np.abs(a[0] - b[0]).max()) for a, b in zip(float32, int8, strict=True))
    changes = [compare_detections(a[1], b[1]) for a, b in zip(float32, int8, strict=True)]
    matched, missed, extra = (sum(getattr(c, key) for c in changes) for key in ("matched", "missed", "extra"))
    before = after = None
    if all(clip is not None for _, clip in recordings):
        before, after = (_map(results, recordings, classes) for results in (float32, int8))
        within = 100 * (before - after) <= max_drop
    else:
        within = missed + extra <= max(1, math.floor(max_drop / 100 * (matched + missed)))
    passed = shift <= MAX_SCORE_SHIFT and within
    return AccuracyCheck(len(recordings), shift, matched, missed, extra, passed, before, after)


def _map(results: Results, recordings: Recordings, classes: Sequence[str]) -> float:
    clips = [clip for _, clip in recordings if clip is not None]
    scored = scored_instances((clip.name, found) for clip, (_, found) in zip(clips, results, strict=True))
    return mean_average_precision(clips, scored, "thumos14", classes, (IOU,)).map[f"{IOU:g}"]

"""Whether int8 finds what float32 finds: mAP@0.5 where there are annotations, else the detections one by one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from infdet_deploy.datasets.annotations import Clip
from infdet_deploy.detections import Detection, compare_detections
from infdet_deploy.metrics.average_precision import evaluate
from infdet_deploy.metrics.thresholds import scored_instances
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video import Video

IOU = 0.5
SCORES_WITHIN = 3e-2  # how far any score may move

Judged = Sequence[tuple[Video, Clip | None]]
Results = list[tuple[np.ndarray, list[Detection]]]


def run_clips(detector: Detector, judged: Judged) -> Results:
    """Scores [T', C] and detections of each clip."""
    found = []
    for video, _ in judged:
        scores = detector.scores(video.frames)
        found.append((scores, detector.detections(scores, len(video.frames), video.fps)))
    return found


def judge(reference: Results, ours: Results, judged: Judged, classes: Sequence[str], max_drop: float) -> dict[str, Any]:
    """Compare int8 (`ours`) with float32, JSON-ready; `passed` says whether the gate holds.

    No score may move by more than 0.03, beside what `max_drop` says.

    max_drop: points (hundredths) of mAP@0.5 that may be lost, THUMOS'14 protocol, where every clip is annotated; else
    the percentage of float32's detections that may be missed or come in addition, one of them in any case.
    """
    shift = max(float(np.abs(a[0] - b[0]).max()) for a, b in zip(reference, ours, strict=True))
    close = shift <= SCORES_WITHIN
    changes = [compare_detections(a[1], b[1]) for a, b in zip(reference, ours, strict=True)]
    matched, missed, extra = (sum(getattr(c, key) for c in changes) for key in ("matched", "missed", "extra"))
    report = {"clips": len(judged), "score_shift": shift, "matched": matched, "missed": missed, "extra": extra}
    if all(clip is not None for _, clip in judged):
        before, after = (_map(results, judged, classes) for results in (reference, ours))
        return report | {
            "map_float32": before,
            "map_int8": after,
            "passed": close and 100 * (before - after) <= max_drop,
        }
    allowed = max(1, math.floor(max_drop / 100 * (matched + missed)))
    return report | {"passed": close and missed + extra <= allowed}


def _map(results: Results, judged: Judged, classes: Sequence[str]) -> float:
    clips = [clip for _, clip in judged if clip is not None]
    scored = scored_instances((clip.name, found) for clip, (_, found) in zip(clips, results, strict=True))
    return evaluate(clips, scored, "thumos14", classes, (IOU,))["map"][f"{IOU:g}"]

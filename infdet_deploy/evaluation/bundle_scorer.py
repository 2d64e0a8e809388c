"""Scores of a bundle on a backend."""

from collections.abc import Sequence
from pathlib import Path

from infdet_deploy.bundle.loading import store_thresholds
from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet
from infdet_deploy.metrics.thresholds import ScoredClip
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.snippets import valid_length
from infdet_deploy.video.resize import Mode


class BundleScorer:
    """A bundle's detector. It has no losses and draws no flow."""

    losses: dict[str, float] | None = None

    def __init__(self, detector: Detector) -> None:
        bundle = detector.bundle
        self.detector, self.classes, self.rule, self.size = detector, bundle.classes, bundle.rule, bundle.size
        self.task = bundle.task
        self.frame_mode: Mode = "crop" if bundle.frame_mode == "crop" else "resize"

    def score(self, data: DataSet, subset: str | None, on_progress: OnProgress) -> list[ScoredClip]:
        clips, found = data.usable(subset, self.classes), []
        for index, clip in enumerate(clips):
            on_progress(index, len(clips), f"score {clip.name}")
            video = data.video(clip, self.size, self.frame_mode)
            snippets_per_second = valid_length(len(video.frames)) / video.duration_s
            found.append(ScoredClip(clip, self.detector.scores(video.frames), snippets_per_second))
        return found

    def store(self, thresholds: Sequence[float]) -> None:
        self.rule = store_thresholds(self.detector.bundle, thresholds).rule

    def draw_flow(self, path: Path) -> None:
        return

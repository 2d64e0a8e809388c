"""One interface to the networks that can be evaluated: a bundle's on a backend, and a checkpoint's in PyTorch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infdet_deploy.bundle.loading import load_bundle, store_thresholds
from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.parts import clips_of_parts
from infdet_deploy.detections import DetectionRule
from infdet_deploy.metrics.thresholds import ScoredClip
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video.preparation import Preparation


class Scorer:
    """A network. preparation: of its frames. losses: means over the clips of the last `score`, or None."""

    classes: tuple[str, ...]
    rule: DetectionRule
    task: str
    preparation: Preparation
    losses: dict[str, float] | None = None

    def score(self, data: DataSet, subset: str | None, on_progress: OnProgress) -> list[ScoredClip]:
        """Score the clips of a subset, all clips for None. Raises as `DataSet.usable` and `read_video`."""
        raise NotImplementedError

    def store(self, thresholds: Sequence[float]) -> None:
        """Replace the thresholds, in the file and in `rule`."""
        raise NotImplementedError

    def draw_flow(self, path: Path) -> None:
        """Draw the estimated flow of a clip of the last `score`; nothing where the network's flow is not available."""


class BundleScorer(Scorer):
    """A bundle's detector."""

    def __init__(self, detector: Detector) -> None:
        bundle = detector.bundle
        self.detector, self.classes, self.rule = detector, bundle.classes, bundle.rule
        self.task, self.preparation = bundle.task, bundle.preparation

    def score(self, data: DataSet, subset: str | None, on_progress: OnProgress) -> list[ScoredClip]:
        clips, found = data.usable(subset, self.classes), []
        for index, clip in enumerate(clips):
            on_progress(index, len(clips), f"score {clip.name}")
            video = data.video(clip, self.preparation)
            parts = video.clips
            annotations = clips_of_parts(clip, [part for part, _ in parts])
            for annotation, (part, frames) in zip(annotations, parts, strict=True):
                sps = self.rule.snippets_per_second(len(frames), part.fps)
                found.append(ScoredClip(annotation, self.detector.scores(frames), sps))
        return found

    def store(self, thresholds: Sequence[float]) -> None:
        self.rule = store_thresholds(self.detector.bundle, thresholds).rule


@contextmanager
def open_scorer(path: Path, checkpoint: bool, backend: str | None, precision: str | None) -> Iterator[Scorer]:
    """The scorer of a checkpoint or bundle. backend, precision: for bundles; default: OpenVINO, float32."""
    if checkpoint:
        from infdet_deploy.evaluation.checkpoint_scorer import CheckpointScorer  # imports torch

        yield CheckpointScorer(path)
        return
    with Detector(load_bundle(path), backend or "openvino", precision or "float32") as detector:
        yield BundleScorer(detector)

"""One interface to the networks that can be evaluated: a checkpoint's in PyTorch, a bundle's on a backend."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet
from infdet_deploy.detections import DetectionRule
from infdet_deploy.evaluation.subjects import Kind
from infdet_deploy.metrics.thresholds import ScoredClip
from infdet_deploy.video.resize import Mode


class Scorer(Protocol):
    """A network. size, frame_mode: of its frames. losses: means over the clips of the last `score`, or None."""

    classes: tuple[str, ...]
    rule: DetectionRule
    task: str
    size: int
    frame_mode: Mode
    losses: dict[str, float] | None

    def score(self, data: DataSet, subset: str | None, on_progress: OnProgress) -> list[ScoredClip]:
        """Score the clips of a subset, all clips for None. Raises as `DataSet.usable` and `read_video`."""

    def store(self, thresholds: Sequence[float]) -> None:
        """Replace the thresholds, in the file and in `rule`."""

    def draw_flow(self, path: Path) -> None:
        """Draw the estimated flow of a clip of the last `score`, if the network estimates flow in PyTorch."""


@contextmanager
def open_scorer(kind: Kind, subject: Path, backend: str | None, precision: str | None) -> Iterator[Scorer]:
    """The scorer of a checkpoint or bundle. backend, precision: for bundles; default: OpenVINO, float32."""
    if kind == "checkpoint":
        from infdet_deploy.evaluation.checkpoint_scorer import CheckpointScorer

        yield CheckpointScorer(subject)
        return
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.evaluation.bundle_scorer import BundleScorer
    from infdet_deploy.runtime.detector import Detector

    with Detector(load_bundle(subject), backend or "openvino", precision or "float32") as detector:
        yield BundleScorer(detector)

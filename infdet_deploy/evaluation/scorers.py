"""What gives `eval` its scores: a checkpoint's network or a bundle's detector, behind one interface."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from infdet_deploy.bundle.loading import MANIFEST, load_bundle, store_thresholds
from infdet_deploy.console import progress
from infdet_deploy.datasets import DataSet
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import UsageError
from infdet_deploy.metrics.thresholds import ScoredClip
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.snippets import valid_length
from infdet_deploy.video.resize import Mode

if TYPE_CHECKING:
    from infdet_deploy.training.dataset import PreparedClip

Kind = Literal["detections", "checkpoint", "bundle"]


def kind_of(what: Path) -> Kind:
    """What a path holds. Raises UsageError for anything that cannot be judged."""
    expected = "expected a detection file, a run folder, a .safetensors checkpoint or a bundle NAME.infdet"
    if not what.exists():
        raise UsageError(f"{what}: no such file or folder; {expected}")
    if what.is_dir():
        if what.suffix == ".infdet" or (what / MANIFEST).is_file():
            return "bundle"
        from infdet_deploy.training.checkpoint import BEST

        if (what / BEST).is_file():
            return "checkpoint"
        raise UsageError(f"{what} is a folder without {BEST} and {MANIFEST}, neither run nor bundle; {expected}")
    if what.suffix == ".safetensors":
        return "checkpoint"
    with open(what, "rb") as file:
        if b"\0" in file.read(1024):
            raise UsageError(f"{what} is neither text nor a .safetensors file; {expected}")
    return "detections"


class Scorer(Protocol):
    """classes, rule and task: of the network. size and frame_mode: how it takes frames.

    losses: means over the clips scored last, where there are any.
    """

    classes: tuple[str, ...]
    rule: DetectionRule
    task: str
    size: int
    frame_mode: Mode
    losses: dict[str, float] | None

    def score(self, data: DataSet, subset: str | None) -> list[ScoredClip]:
        """The scores of a subset's clips, of all clips for None; errors of `DataSet.usable` and `read_video`."""

    def store(self, thresholds: Sequence[float]) -> None:
        """Put thresholds in the place of those in the file, and judge by them from now on."""

    def draw_flow(self, path: Path) -> None:
        """Draw the flow of the first clip scored last that shows an action, where the network estimates flow."""


@contextmanager
def open_scorer(kind: Kind, what: Path, backend: str | None, precision: str | None) -> Iterator[Scorer]:
    """A checkpoint's or a bundle's scorer. backend and precision are for bundles, by default OpenVINO in float32."""
    if kind == "checkpoint":
        yield CheckpointScorer(what)
        return
    with Detector(load_bundle(what), backend or "openvino", precision or "float32") as detector:
        yield BundleScorer(detector)


class CheckpointScorer:
    """The eager network of a checkpoint; of a run folder its best one, the one that `export` takes."""

    def __init__(self, run: Path) -> None:
        from infdet_deploy.model.weights import load_network
        from infdet_deploy.training.checkpoint import checkpoint_file, saved_rule
        from infdet_deploy.training.clip_cache import FRAME_MODE

        self.path = checkpoint_file(run)
        self.network, extra = load_network(self.path)
        config = self.network.config
        self.classes, self.size, self.task = config.classes, config.size, str(config.task)
        self.rule, self.frame_mode = saved_rule(extra, self.classes), FRAME_MODE
        self.losses: dict[str, float] | None = None
        self.clips: list[PreparedClip] = []

    def score(self, data: DataSet, subset: str | None) -> list[ScoredClip]:
        from infdet_deploy.training.dataset import load_dataset
        from infdet_deploy.training.evaluation import clip_scores, mean_losses, scored_clips

        with progress("prepare") as update:
            self.clips = load_dataset(data, subset, self.network.config, update)
        found = []
        with progress("score") as update:
            for index, clip in enumerate(self.clips):
                update(index, len(self.clips), clip.name)
                found += clip_scores(self.network, [clip])
        self.losses = mean_losses(found)
        return scored_clips(found, self.clips)

    def store(self, thresholds: Sequence[float]) -> None:
        from infdet_deploy.training.checkpoint import store_thresholds

        store_thresholds(self.path, thresholds)
        self.rule = DetectionRule(tuple(thresholds), self.rule.mean_duration_s)

    def draw_flow(self, path: Path) -> None:
        if self.network.fen is None:
            return
        import torch

        from infdet_deploy.model.network import to_grey
        from infdet_deploy.plots.flow import draw_flow, liveliest_pairs
        from infdet_deploy.training.tvl1 import limit_px

        clip = next((clip for clip in self.clips if clip.annotation.instances), self.clips[0])
        pairs = np.array(liveliest_pairs(clip.flow))
        frames = np.stack([clip.frames[pairs], clip.frames[pairs + 1]], axis=1)
        with torch.inference_mode():
            estimate = self.network.estimate_flow(to_grey(torch.from_numpy(frames)))[:, 0].numpy()
        times_s = pairs * clip.duration_s / len(clip.frames)
        draw_flow(path, clip.name, clip.frames[pairs], times_s, clip.flow[pairs], estimate, limit_px(self.size))


class BundleScorer:
    """A bundle's detector on one backend; it gives no losses and draws no flow."""

    def __init__(self, detector: Detector) -> None:
        bundle = detector.bundle
        self.detector, self.classes, self.rule, self.size = detector, bundle.classes, bundle.rule, bundle.size
        self.task = bundle.task
        self.frame_mode: Mode = "crop" if bundle.frame_mode == "crop" else "resize"
        self.losses: dict[str, float] | None = None

    def score(self, data: DataSet, subset: str | None) -> list[ScoredClip]:
        clips, found = data.usable(subset, self.classes), []
        with progress("score") as update:
            for index, clip in enumerate(clips):
                update(index, len(clips), clip.name)
                video = data.video(clip, self.size, self.frame_mode)
                snippets_per_second = valid_length(len(video.frames)) / video.duration_s
                found.append(ScoredClip(clip, self.detector.scores(video.frames), snippets_per_second))
        return found

    def store(self, thresholds: Sequence[float]) -> None:
        self.rule = store_thresholds(self.detector.bundle, thresholds).rule

    def draw_flow(self, path: Path) -> None:
        return

"""Prepare a data set before training: frames, flow and, for a frozen tower, features go into its cache."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.datasets import open_dataset
from infdet_deploy.errors import TrainingError, UsageError
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import load_network
from infdet_deploy.training.clip_cache import CACHE, cache_file, prepare_clips
from infdet_deploy.training.dataset import prepared_clips
from infdet_deploy.training.features import infrared_features


@dataclass(frozen=True)
class PrepareOptions:
    """preset: the network's size. weights: a checkpoint, whose size overrides the preset's and whose infrared tower's
    features are cached too. workers: processes, one per CPU by default."""

    preset: str = "tiny"
    weights: Path | None = None
    workers: int | None = None


@dataclass(frozen=True)
class PrepareResult:
    """made, ready: clips prepared by this call, and before. size_bytes: of the whole cache."""

    data: Path
    made: int
    ready: int
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self) | {"data": str(self.data)}


def prepare_dataset(
    data: Path | str,
    options: PrepareOptions | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> PrepareResult:
    """Fill the cache of the data set `data` for training; an interrupted call continues where it stopped.

    on_progress is called with the clips done, their total, and the phase (`prepare` or `features`).

    Raises UsageError for weights without an infrared tower, TrainingError where no clip has frames; errors of
    `open_dataset`, `load_network` and `prepare_clips`.
    """
    options, report = options or PrepareOptions(), on_progress or (lambda done, total, phase: None)
    network = None if options.weights is None else load_network(options.weights)[0]
    if network is not None and network.infrared_tower is None:
        raise UsageError(f"{options.weights} has no infrared tower, so there are no features to cache")
    model = preset(options.preset) if network is None else network.config
    dataset = open_dataset(data)
    clips = [clip for clip in dataset.clips if clip.name in dataset.media]
    if not clips:
        raise TrainingError(f"{dataset.root}: no clip has frames; expected videos/NAME.mp4 or folders frames/NAME")
    ready = sum(cache_file(dataset, clip, model).is_file() for clip in clips)
    prepare_clips(dataset, clips, model, lambda done, total: report(done, total, "prepare"), options.workers)
    if network is not None and network.infrared_tower is not None:
        labels = {one.label for clip in clips for one in clip.instances} | {clip.label for clip in clips} - {""}
        model = dataclasses.replace(model, classes=tuple(sorted(labels)) or model.classes)
        infrared_features(
            dataset,
            prepared_clips(dataset, clips, model),
            model,
            network.infrared_tower,
            lambda done, total: report(done, total, "features"),
        )
    size = sum(file.stat().st_size for file in (dataset.root / CACHE).glob("*.safetensors"))
    return PrepareResult(dataset.root, len(clips) - ready, ready, size)

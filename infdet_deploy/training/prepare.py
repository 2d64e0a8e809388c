"""Prepare a data set before training: decode and resize frames, compute TV-L1 flow, cache both."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.datasets import open_dataset
from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import Streams, preset
from infdet_deploy.training.checkpoint import starting_network
from infdet_deploy.training.clip_cache import CACHE, cache_file, prepare_clips


@dataclass(frozen=True)
class PrepareOptions:
    """preset: the network's size. weights: a checkpoint whose network overrides the preset. streams: `infrared` needs
    no flow, which is most of the work. workers: processes, by default one per CPU. Raises ConfigError for an unknown
    preset."""

    preset: str = "small"
    weights: Path | None = None
    streams: Streams | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        preset(self.preset)


@dataclass(frozen=True)
class PrepareResult:
    """made, ready: clips prepared by this call, and before. size_bytes: of the whole cache."""

    data: Path
    made: int
    ready: int
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return vars(self) | {"data": str(self.data)}


def prepare_dataset(
    data: Path | str,
    options: PrepareOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrepareResult:
    """Fill the cache of the data set `data` for training; an interrupted call continues where it stopped.

    on_progress is called with the clips done and their total.

    Raises TrainingError if no clip has frames; errors of `open_dataset`, `load_network` and `prepare_clips`.
    """
    options = options or PrepareOptions()
    network = starting_network(options.weights)
    model = preset(options.preset) if network is None else network.config
    if options.streams is not None:
        fusion = model.fusion if options.streams == model.streams else "sca" if options.streams == "both" else "none"
        model = dataclasses.replace(model, streams=options.streams, fusion=fusion)
    dataset = open_dataset(data)
    clips = [clip for clip in dataset.clips if clip.name in dataset.media]
    if not clips:
        raise TrainingError(f"{dataset.root}: no clip has frames; expected videos/NAME.mp4 or folders frames/NAME")
    ready = sum(cache_file(dataset, clip, model).is_file() for clip in clips)
    prepare_clips(dataset, clips, model, on_progress, options.workers)
    size = sum(file.stat().st_size for file in (dataset.root / CACHE).glob("*.safetensors"))
    return PrepareResult(dataset.root, len(clips) - ready, ready, size)

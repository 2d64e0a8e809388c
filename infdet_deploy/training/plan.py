"""What a training would do and cost, found out without writing anything."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.annotations import Clip
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.system import peak_memory_bytes
from infdet_deploy.training.checkpoint import TrainingState
from infdet_deploy.training.clip_cache import Prepared, cache_file, read_cache
from infdet_deploy.training.dataset import PreparedClip, divide, labelled
from infdet_deploy.training.distributed import World
from infdet_deploy.training.placement import precision
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.stepping import first_state, take_step
from infdet_deploy.training.windows import Windows, windows_in
from infdet_deploy.video.sample import sample_frames

_GENERATED_S, _GENERATED_FPS = 20.0, 25.0  # of a whole clip to measure on where none is prepared


def plan(
    data: DataSet, model: ModelConfig, config: TrainConfig, initial: InfDetNet | None = None, world: World | None = None
) -> dict[str, Any]:
    """A JSON-ready report; two steps are made, and the second is timed, on the longest prepared clip or generated
    frames.

    `subsets`: for each `clips`, `minutes` (None where a clip's length is known only once it is prepared),
    `instances` of each class, `to_prepare`. `parameters`: `trained` and `frozen`. `epochs` counts clips in whole-clip
    mode, else windows; None where lengths are unknown. `seconds_per_step`, `hours` (of all steps, without validation)
    and `peak_memory_mb` (of this process, with the libraries; on CUDA that of the device) are measured.

    Clips held out to validate with count there. Raises what `train` would: errors of `divide`, and TrainingError for
    a batch that the processes cannot share.
    """
    world = world or World()
    world.check_batch(config.batch)
    parts = divide(data, model, config)
    training, subsets = parts[0], (config.train_subset, config.validation_subset, config.test_subset)
    caches = {clip.name: read_cache(cache_file(data, clip, model)) for clips in parts for clip in clips}
    lengths = [_frames(data, clip, caches[clip.name]) for clip in training]
    epochs = None
    if config.chunk_snippets:
        epochs = config.steps * config.batch / len(training)
    elif None not in lengths:
        windows = sum(windows_in(frames, config) for frames in lengths if frames is not None)
        epochs = config.steps * config.batch / windows
    prepared = [clip for clip in training if caches[clip.name] is not None]
    longest = max(prepared, key=lambda clip: len(caches[clip.name].frames), default=None)  # type: ignore[union-attr]
    known = None if longest is None else caches[longest.name]
    sample = _generated(model, config) if longest is None or known is None else labelled(longest, known, model)
    state = first_state(model, config, initial, world)
    measured_s = _measure(state, Windows([sample], model, config, world), config, world)
    trained = sum(parameter.numel() for parameter in state.network.parameters() if parameter.requires_grad)
    return {
        "data": str(data.root),
        "classes": list(model.classes),
        "subsets": {name: _about(clips, caches, model.classes) for name, clips in zip(subsets, parts, strict=True)},
        "validation_share": 0.0 if data.subset(config.validation_subset) else config.validation_share,
        "parameters": {"trained": trained, "frozen": sum(p.numel() for p in state.network.parameters()) - trained},
        "steps": config.steps,
        "epochs": epochs,
        "batch": config.batch,
        "whole_clips": bool(config.chunk_snippets),
        "precision": str(precision(config)).removeprefix("torch."),
        "device": config.device,
        "processes": world.size,
        "measured_on": "generated frames" if longest is None else longest.name,
        "seconds_per_step": measured_s,
        "hours": measured_s * config.steps / 3600,
        "peak_memory_mb": _peak_bytes(config.device) / 1e6,
    }


def _about(clips: Sequence[Clip], caches: dict[str, Prepared | None], classes: Sequence[str]) -> dict[str, Any]:
    lengths_s = []
    for clip in clips:
        cache = caches[clip.name]
        lengths_s.append(clip.duration_s if cache is None else cache.duration_s)
    shown = Counter(label for clip in clips for label in (clip.label, *(one.label for one in clip.instances)))
    return {
        "clips": len(clips),
        "minutes": None if None in lengths_s else sum(s for s in lengths_s if s is not None) / 60,
        "instances": {label: shown[label] for label in classes},
        "to_prepare": sum(caches[clip.name] is None for clip in clips),
    }


def _frames(data: DataSet, clip: Clip, cache: Prepared | None) -> int | None:
    """How many frames a clip has, as far as that is known without decoding it."""
    if cache is not None:
        return len(cache.frames)
    rate = data.frame_rate(clip.name)
    return None if rate is None or clip.duration_s is None else round(rate * clip.duration_s)


def _generated(model: ModelConfig, config: TrainConfig) -> PreparedClip:
    """Frames like a recording's, in which nothing happens and nothing moves."""
    frames = round(_GENERATED_S * _GENERATED_FPS) if config.chunk_snippets else config.window_frames
    flow = np.zeros((frames - 1, model.flow_channels, model.flow_size, model.flow_size), np.float16)
    duration_s = frames / _GENERATED_FPS
    found = Prepared(sample_frames(frames, model.size), flow, duration_s)
    return labelled(Clip("generated", duration_s, None, ()), found, model)


def _measure(state: TrainingState, windows: Windows, config: TrainConfig, world: World) -> float:
    """Seconds of one step; the first one pays for what later ones find ready."""
    seconds = 0.0
    for step in range(2):
        begun = time.monotonic()
        take_step(state, windows, config, step, 1e-6, world)
        seconds = time.monotonic() - begun
    return seconds


def _peak_bytes(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_memory_bytes()

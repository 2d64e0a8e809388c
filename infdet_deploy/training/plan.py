"""The plan of a training run, with its time and memory, made without writing anything.

Time and memory are measured in two short steps on generated frames and extrapolated: both are a constant (optimiser,
weights) plus a part proportional to the number of frames. So a plan itself is quick and needs little memory.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from infdet_deploy.config import to_dict
from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.runtime.chunks import chunks
from infdet_deploy.system import peak_memory_bytes
from infdet_deploy.training.clip_cache import Prepared, cache_file, read_cache
from infdet_deploy.training.dataset import PreparedClip, divide, labelled
from infdet_deploy.training.distributed import World
from infdet_deploy.training.loop import OnProgress, Progress
from infdet_deploy.training.mixed_precision import precision
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.step import first_state, take_step
from infdet_deploy.training.windows import Windows, windows_in
from infdet_deploy.video.sample import sample_frames

MEASURED_FRAMES = (32, 32, 64)  # of the steps; the first one pays for allocations and is not counted
_UNKNOWN_FRAMES = 500  # assumed length of whole clips that are not prepared: 20 s at 25 frames/s


@dataclass(frozen=True)
class SubsetPlan:
    """minutes: None if a clip's length is only known once it is prepared. to_prepare: clips."""

    clips: int
    minutes: float | None
    instances: dict[str, int]
    to_prepare: int


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of a training run, with its time and memory.

    subsets: by name; `validation` includes the training clips that are held out for it, a share of validation_share (0:
    the data set has validation clips). epochs: over clips with whole_clips, else over windows; None if lengths are
    unknown. seconds_per_step, hours (without preparing and validating) and peak_memory_mb (of one process with its
    libraries; on CUDA of the device) are extrapolated from short steps.
    """

    data: str
    classes: tuple[str, ...]
    subsets: dict[str, SubsetPlan]
    validation_share: float
    trained_parameters: int
    frozen_parameters: int
    steps: int
    epochs: float | None
    batch: int
    whole_clips: bool
    precision: str
    device: str
    processes: int
    seconds_per_step: float
    hours: float
    peak_memory_mb: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return to_dict(self)


def measure_plan(
    data: DataSet,
    model: ModelConfig,
    config: TrainConfig,
    initial: InfDetNet | None,
    world: World,
    report: OnProgress,
) -> TrainingPlan:
    """Read the annotations, take short steps, extrapolate.

    Raises what training would: errors of `divide`, and TrainingError for a batch that the processes cannot share.
    """
    world.check_batch(config.batch)
    parts = divide(data, model, config)
    training, names = parts[0], (config.train_subset, config.validation_subset, config.test_subset)
    caches = {clip.name: read_cache(cache_file(data, clip, model), model) for clips in parts for clip in clips}
    lengths = [_frames(data, clip, caches[clip.name]) for clip in training]
    known = [length for length in lengths if length is not None]
    epochs = None
    if config.chunk_snippets:
        epochs = config.steps * config.batch / len(training)
    elif len(known) == len(lengths):
        epochs = config.steps * config.batch / sum(windows_in(frames, config) for frames in known)
    step_frames, graph_frames = _frames_of_a_step(config, known or [_UNKNOWN_FRAMES], world)
    measured = _measure(model, config, initial, report)
    seconds = measured.seconds_at(step_frames)
    return TrainingPlan(
        data=str(data.root),
        classes=model.classes,
        subsets={name: _about(clips, caches, model.classes) for name, clips in zip(names, parts, strict=True)},
        validation_share=0.0 if data.subset(config.validation_subset) else config.validation_share,
        trained_parameters=measured.trained,
        frozen_parameters=measured.parameters - measured.trained,
        steps=config.steps,
        epochs=epochs,
        batch=config.batch,
        whole_clips=bool(config.chunk_snippets),
        precision=str(precision(config)).removeprefix("torch."),
        device=config.device,
        processes=world.size,
        seconds_per_step=seconds,
        hours=seconds * config.steps / 3600,
        peak_memory_mb=measured.bytes_at(graph_frames) / 1e6,
    )


def _about(clips: Sequence[Clip], caches: dict[str, Prepared | None], classes: Sequence[str]) -> SubsetPlan:
    lengths_s = [(caches[clip.name] or clip).duration_s for clip in clips]
    shown = Counter(label for clip in clips for label in (clip.label, *(one.label for one in clip.instances)))
    return SubsetPlan(
        clips=len(clips),
        minutes=None if None in lengths_s else sum(s for s in lengths_s if s is not None) / 60,
        instances={label: shown[label] for label in classes},
        to_prepare=sum(caches[clip.name] is None for clip in clips),
    )


def _frames(data: DataSet, clip: Clip, cache: Prepared | None) -> int | None:
    """A clip's number of frames, if it is known without decoding."""
    if cache is not None:
        return len(cache.frames)
    rate = data.frame_rate(clip.name)
    return None if rate is None or clip.duration_s is None else round(rate * clip.duration_s)


def _frames_of_a_step(config: TrainConfig, lengths: Sequence[int], world: World) -> tuple[float, int]:
    """Frames that one process computes in a step, and the most whose graph is in memory at once."""
    samples = config.batch // world.size
    if not config.chunk_snippets:
        return samples * config.window_frames, samples * config.window_frames
    cuts = [[stop - start for start, stop, _ in chunks(max(n // 4 * 4, 16), config.chunk_snippets)] for n in lengths]
    return samples * float(np.mean([sum(parts) for parts in cuts])), max(max(parts) for parts in cuts)


@dataclass(frozen=True)
class _Measured:
    """Seconds of steps and peak memory in bytes at the two sizes measured; counts of parameters."""

    seconds: tuple[float, float]
    peak_bytes: tuple[int, int]
    trained: int
    parameters: int

    def seconds_at(self, frames: float) -> float:
        return _extrapolate(self.seconds, frames)

    def bytes_at(self, frames: float) -> float:
        return max(_extrapolate(self.peak_bytes, frames), *self.peak_bytes)


def _extrapolate(values: tuple[float, float], frames: float) -> float:
    few, many = MEASURED_FRAMES[1:]
    slope = max((values[1] - values[0]) / (many - few), 0.0)
    return values[0] + slope * (frames - few)


def _measure(model: ModelConfig, config: TrainConfig, initial: InfDetNet | None, report: OnProgress) -> _Measured:
    count = len(MEASURED_FRAMES)
    note = f"measuring {count} short steps on generated frames, without writing anything"
    report(Progress("measure", 0, count, note=note))
    alone = World()
    state = first_state(model, config, initial, alone)
    seconds, peaks = [], []
    for index, frames in enumerate(MEASURED_FRAMES):
        small = dataclasses.replace(config, batch=1, window_frames=frames)
        windows = Windows([_generated(model, frames)], model, small, alone)
        started = time.monotonic()
        take_step(state, windows, small, index, 1e-6, alone)
        seconds.append(time.monotonic() - started)
        peaks.append(_peak_bytes(config.device))
        report(Progress("measure", index + 1, count))
    parameters = list(state.network.parameters())
    return _Measured(
        seconds=(seconds[1], seconds[2]),
        peak_bytes=(peaks[1], peaks[2]),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        parameters=sum(p.numel() for p in parameters),
    )


def _generated(model: ModelConfig, frames: int) -> PreparedClip:
    """Frames like a recording's, without actions or motion."""
    channels = model.flow_channels if model.has_flow else 0
    flow = np.zeros((frames - 1, channels, model.flow_size, model.flow_size), np.float16)
    prepared = Prepared(sample_frames(frames, model.size), flow, frames / 25)
    return labelled(Clip("generated", prepared.duration_s, None, ()), prepared, model)[0]


def _peak_bytes(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_memory_bytes()

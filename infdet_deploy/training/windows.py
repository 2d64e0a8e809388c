"""Training samples: the windows or whole clips of each step, and their augmentation."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infdet_deploy.model.network import to_grey
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length, valid_length
from infdet_deploy.training.dataset import PreparedClip, snippet_labels
from infdet_deploy.training.distributed import World
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.whole_clips import WholeClip
from infdet_deploy.video.background import BACKGROUND_LEVEL


class Batch(NamedTuple):
    """names: of the clips. seeds: one per sample, unique in the training. grey [B, T, S, S] in [−1, 1]; target flow
    [B, T−1, c, h, w]; labels [B, T', C]; length: valid snippets [B]; pairs: frame pairs before the padding [B]."""

    names: list[str]
    seeds: tuple[int, ...]
    grey: Tensor
    target: Tensor
    labels: Tensor
    length: Tensor
    pairs: Tensor


def windows_in(frames: int, config: TrainConfig) -> int:
    """Windows that an epoch draws from a clip of `frames` frames."""
    return max(1, round(frames / config.window_frames))


class Windows:
    """The training samples, which depend on the seed and the step alone.

    A clip as long as n windows is drawn n times an epoch, each time at another random place. A share of the windows,
    `balance`, is replaced by windows around an action, of each class equally often: in long recordings actions are
    rare, and a network that sees few of them learns that there are none. With published ends, windows begin a whole
    number of snippets from the clip's start. Each process of `world` gets its share of a step.
    """

    def __init__(
        self, clips: Sequence[PreparedClip], model: ModelConfig, config: TrainConfig, world: World | None = None
    ) -> None:
        self.clips, self.model, self.config, self.world = clips, model, config, world or World()
        self.actions = [
            [(clip, instance) for clip in clips for instance in clip.annotation.instances if instance.label == label]
            for label in model.classes
        ]
        self.actions = [shown for shown in self.actions if shown]
        self.units = [index for index, clip in enumerate(clips) for _ in range(windows_in(len(clip.frames), config))]

    @property
    def steps_per_epoch(self) -> float:
        return len(self.clips if self.config.chunk_snippets else self.units) / self.config.batch

    def batch(self, step: int) -> Batch:
        """The windows of a step, augmented."""
        return self._batch(list(self._draws(step, len(self.units))))

    def whole(self, step: int) -> Iterator[tuple[str, int, WholeClip]]:
        """Name, seed and content of a step's whole clips, augmented; up to 3 frames at the end are dropped."""
        for seed, place, rng in self._draws(step, len(self.clips)):
            yield self.clips[place].name, seed, self._whole(self.clips[place], rng)

    def extra_batch(self, index: int) -> Batch:
        """Batch number `index` of a series like the steps' but drawn separately, the same in every process."""
        rng = np.random.default_rng([self.config.seed, 2, index])
        count, batch = len(self.units), self.config.batch
        places = rng.choice(count, batch, replace=batch > count)
        return self._batch([(index, place, rng) for index, place in enumerate(places)])

    def _batch(self, draws: Sequence[tuple[int, int, np.random.Generator]]) -> Batch:
        """The windows of draws: a seed, an index into `units`, a random generator."""
        clips = [self.clips[self.units[place]] for _, place, _ in draws]
        places = [self._place(clip, rng) for clip, (_, _, rng) in zip(clips, draws, strict=True)]
        clips = [clip for clip, _ in places]
        windows = [self._window(*place, rng) for place, (_, _, rng) in zip(places, draws, strict=True)]
        grey, target, labels, length, pairs = map(torch.stack, zip(*windows, strict=True))
        return Batch(
            [clip.name for clip in clips], tuple(seed for seed, _, _ in draws), grey, target, labels, length, pairs
        )

    def _draws(self, step: int, count: int) -> Iterator[tuple[int, int, np.random.Generator]]:
        """This process's draws of a step: seed, an index below `count` (each once an epoch), random generator."""
        for index in self.world.share(self.config.batch):
            draw = step * self.config.batch + index
            epoch, place = divmod(draw, count)
            order = np.random.default_rng([self.config.seed, 0, epoch]).permutation(count)
            yield (self.config.seed << 32) + draw, int(order[place]), np.random.default_rng([self.config.seed, 1, draw])

    def _whole(self, clip: PreparedClip, rng: np.random.Generator) -> WholeClip:
        total = len(clip.frames) // 4 * 4
        frames, flow, gain, offset = self._augment(clip.frames[:total], clip.flow[: total - 1], rng)

        def grey(start: int, stop: int) -> Tensor:
            return self._grey(frames[start:stop], gain, offset)

        labels = torch.from_numpy(clip.labels[: feature_length(total)])
        return WholeClip(grey, torch.from_numpy(flow), labels, total, valid_length(total))

    def _grey(self, frames: NDArray[np.uint8], gain: float, offset: float) -> Tensor:
        """Grey levels −1…1, times the gain, plus the offset; the background's level stays where it is fixed."""
        grey = to_grey(self._tensor(frames))
        if self.model.levels == "background":
            fixed = BACKGROUND_LEVEL / 255 * 2 - 1
            return (fixed + (grey - fixed) * gain).clamp(-1, 1)
        return (grey * gain + offset).clamp(-1, 1)

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.config.device)

    def _place(self, clip: PreparedClip, rng: np.random.Generator) -> tuple[PreparedClip, int]:
        """A window's clip and first frame: anywhere in `clip`, or around the middle of a random action."""
        size, aligned = self.config.window_frames, self.config.ends == "published"
        if self.actions and rng.random() < self.config.balance:
            shown = self.actions[rng.integers(len(self.actions))]
            clip, instance = shown[rng.integers(len(shown))]
            middle = (instance.start_s + instance.end_s) / 2 * clip.fps
            start = int(middle - rng.uniform(0.15, 0.85) * size)
        else:
            start = int(rng.integers(max(0, len(clip.frames) - size) + 1))
        start = min(max(start, 0), max(0, len(clip.frames) - size))
        return clip, start // FRAMES_PER_SNIPPET * FRAMES_PER_SNIPPET if aligned else start

    def _window(self, clip: PreparedClip, start: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A window from frame `start` as the tensors of a `Batch`, without the batch axis."""
        size, total = self.config.window_frames, len(clip.frames)
        frames, flow = clip.frames[start : start + size], clip.flow[start : start + size - 1].astype(np.float32)
        length, pairs = valid_length(len(frames)), len(flow)
        snippets = size // FRAMES_PER_SNIPPET - 1
        labels = snippet_labels(
            clip.annotation, self.model.classes, total, clip.duration_s, snippets, self.config.ends, start
        )
        if len(frames) < size:
            frames = np.pad(frames, ((0, size - len(frames)), (0, 0), (0, 0)), mode="edge")
            flow = np.pad(flow, ((0, size - 1 - len(flow)), (0, 0), (0, 0), (0, 0)))
        frames, flow, gain, offset = self._augment(frames, flow, rng)
        counts = torch.tensor((length, pairs), device=self.config.device)
        return self._grey(frames, gain, offset), self._tensor(flow), self._tensor(labels), *counts

    def _augment(
        self, frames: NDArray[np.uint8], flow: NDArray[Any], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[Any], float, float]:
        """Shift by a whole number of flow pixels, repeating the border; mirror; turn; draw gain and offset."""
        gain, offset = (float(n) for n in self.config.jitter * rng.uniform(-1, 1, 2) + (1, 0))
        cells = flow.shape[-1]
        reach = int(cells * self.config.shift)
        down, right = (int(n) for n in rng.integers(-reach, reach + 1, 2))
        if down or right:
            rows, columns = (np.clip(np.arange(cells) + n, 0, cells - 1) for n in (down, right))
            flow = flow[..., rows[:, None], columns]
            pixels = np.arange(frames.shape[-1])
            rows, columns = (np.clip(pixels + n * self.model.flow_stride, 0, pixels[-1]) for n in (down, right))
            frames = frames[:, rows[:, None], columns]
        if self.config.mirror and rng.random() < 0.5:
            frames, flow = frames[..., ::-1], flow[..., ::-1].copy()
            flow[:, :1] *= -1
        for _ in range(rng.integers(4) if self.config.rotate else 0):
            frames, flow = np.rot90(frames, axes=(1, 2)), np.rot90(flow, axes=(2, 3)).copy()
            flow[:, :2] = np.stack((flow[:, 1], -flow[:, 0]), axis=1) if flow.shape[1] else flow
        return frames, flow, gain, offset

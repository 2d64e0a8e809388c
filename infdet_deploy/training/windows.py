"""Training windows: which part of which clip a step sees, and how it is augmented."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from infdet_deploy.model.network import to_grey
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length, valid_length
from infdet_deploy.training.chunked import WholeClip
from infdet_deploy.training.dataset import PreparedClip, snippet_labels
from infdet_deploy.training.distributed import World
from infdet_deploy.training.settings import TrainConfig


class Batch(NamedTuple):
    """names; seeds, a number for each sample of the whole training; grey [B, T, S, S] in [−1, 1]; target flow
    [B, T−1, c, h, w]; labels [B, T', C]; length, pairs [B]."""

    names: list[str]
    seeds: tuple[int, ...]
    grey: Tensor
    target: Tensor
    labels: Tensor
    length: Tensor
    pairs: Tensor


def windows_in(frames: int, config: TrainConfig) -> int:
    """How often an epoch draws a window of a clip of so many frames."""
    return max(1, round(frames / config.window_frames))


class Windows:
    """The training windows, in an order that follows from the seed and the step alone.

    A clip of n windows' length is drawn n times an epoch, each time at another place, a whole number of snippets from
    its start. Of several processes each gets its share of a step. infrared: the clips' features
    where the infrared tower is frozen and clips are not augmented.
    """

    def __init__(
        self,
        clips: Sequence[PreparedClip],
        model: ModelConfig,
        config: TrainConfig,
        world: World | None = None,
        infrared: Sequence[Tensor] = (),
    ) -> None:
        self.clips, self.model, self.config, self.world = clips, model, config, world or World()
        self.infrared = infrared
        self.units = [index for index, clip in enumerate(clips) for _ in range(windows_in(len(clip.frames), config))]

    @property
    def steps_per_epoch(self) -> float:
        return len(self.clips if self.config.chunk_snippets else self.units) / self.config.batch

    def batch(self, step: int) -> Batch:
        """The windows of a step, augmented."""
        draws = list(self._draws(step, len(self.units)))
        samples = [self._window(self.clips[self.units[place]], rng) for _, place, rng in draws]
        return self._stack(samples, [self._seed(draw) for draw, _, _ in draws])

    def whole(self, step: int) -> Iterator[tuple[str, int, WholeClip]]:
        """The clips of a step, augmented, with name and seed; up to 3 frames at the end are dropped, as when run."""
        for draw, place, rng in self._draws(step, len(self.clips)):
            yield self.clips[place].name, self._seed(draw), self._whole(place, rng)

    def _seed(self, draw: int) -> int:
        return (self.config.seed << 32) + draw

    def _draws(self, step: int, count: int) -> Iterator[tuple[int, int, np.random.Generator]]:
        """What a step draws: the draw's number, a place of `count`, each once an epoch, a random generator."""
        for index in self.world.share(self.config.batch):
            draw = step * self.config.batch + index
            epoch, place = divmod(draw, count)
            order = np.random.default_rng([self.config.seed, 0, epoch]).permutation(count)
            yield draw, int(order[place]), np.random.default_rng([self.config.seed, 1, draw])

    def _whole(self, place: int, rng: np.random.Generator) -> WholeClip:
        clip = self.clips[place]
        total = len(clip.frames) // 4 * 4
        frames, flow, gain, offset = self._augment(clip.frames[:total], clip.flow[: total - 1], rng)

        def grey(start: int, stop: int) -> Tensor:
            part = torch.from_numpy(np.ascontiguousarray(frames[start:stop])).to(self.config.device)
            return (to_grey(part) * gain + offset).clamp(-1, 1)

        labels = torch.from_numpy(clip.labels[: feature_length(total)])
        known = self.infrared[place] if self.infrared else None
        return WholeClip(grey, torch.from_numpy(flow), labels, total, valid_length(total), known)

    def more(self, index: int) -> Batch:
        """A whole batch like those of the steps but drawn apart, the same for every process; `index` tells which."""
        rng = np.random.default_rng([self.config.seed, 2, index])
        count, batch = len(self.units), self.config.batch
        places = rng.choice(count, batch, replace=batch > count)
        samples = [self._window(self.clips[self.units[place]], rng) for place in places]
        return self._stack(samples, range(batch))

    def _window(self, clip: PreparedClip, rng: np.random.Generator) -> tuple[Any, ...]:
        wanted, total = self.config.window_frames, len(clip.frames)
        first = int(rng.integers(max(0, total - wanted) // FRAMES_PER_SNIPPET + 1))
        start = first * FRAMES_PER_SNIPPET
        frames, flow = clip.frames[start : start + wanted], clip.flow[start : start + wanted - 1].astype(np.float32)
        length, pairs = valid_length(len(frames)), len(flow)
        snippets = wanted // FRAMES_PER_SNIPPET - 1
        labels = snippet_labels(clip.annotation, self.model.classes, total, clip.duration_s, first + snippets)[first:]
        if len(frames) < wanted:
            frames = np.pad(frames, ((0, wanted - len(frames)), (0, 0), (0, 0)), mode="edge")
            flow = np.pad(flow, ((0, wanted - 1 - len(flow)), (0, 0), (0, 0), (0, 0)))
        return clip.name, *self._augment(frames, flow, rng), labels, length, pairs

    def _augment(
        self, frames: np.ndarray, flow: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Shifted by a whole number of flow pixels, the rim repeated, and mirrored; with the gain and the offset that
        the grey levels −1…1 are to have."""
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
            flow[:, 0] *= -1
        return frames, flow, gain, offset

    def _stack(self, samples: list[tuple[Any, ...]], seeds: Sequence[int]) -> Batch:
        names, frames, flow, gain, offset, labels, length, pairs = zip(*samples, strict=True)
        device = self.config.device
        grey = to_grey(torch.from_numpy(np.stack(frames)).to(device))
        scale, add = (torch.tensor(v, dtype=torch.float32, device=device)[:, None, None, None] for v in (gain, offset))
        return Batch(
            list(names),
            tuple(seeds),
            (grey * scale + add).clamp(-1, 1),
            torch.from_numpy(np.stack(flow)).to(device),
            torch.from_numpy(np.stack(labels)).to(device),
            torch.tensor(length, device=device),
            torch.tensor(pairs, device=device),
        )

"""A small temporal convolution network: python tcn.py DATA DETECTIONS.json [--seed N] (needs torch).

A convolution encodes each frame, dilated convolutions over time compare it with the frames around it. Training windows
are rotated, mirrored, shifted and scaled in warmth, as persons differ and nothing distinguishes the room's walls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data_set import CLASSES
from decide import Rule, Scores, detect
from judge import run_and_judge
from recordings import Array, Warmth, read_warmth
from torch import Tensor, nn

from infdet_deploy.datasets.instances import ScoredInstance

FPS = 10.0  # the sensor's own rate
RULE = Rule(0.2, (0.3, 0.3, 0.3))  # not fitted; chosen by hand on test day 20170209
DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8)  # in frames
LOOK_AHEAD_S = (1 + sum(DILATIONS)) / FPS + RULE.reach_s  # an action is reported this long after its end


@dataclass(frozen=True)
class TcnOptions:
    """How to train. window: frames of a training sample."""

    steps: int = 600
    batch: int = 8
    window: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    seed: int = 0


class Tcn(nn.Module):
    """Warmth [N, T, 16, 16] in kelvin → logits [N, T, 3]."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.frames = nn.Sequential(
            nn.Conv2d(2, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, channels), nn.ReLU(),
        )  # fmt: skip
        self.time = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(8, channels), nn.ReLU(), nn.Dropout(0.2), nn.Conv1d(channels, channels, 1),
            )
            for dilation in DILATIONS
        )  # fmt: skip
        self.classes = nn.Conv1d(channels, len(CLASSES), 1)

    def forward(self, warmth: Tensor) -> Tensor:
        number, frames = warmth.shape[:2]
        change = torch.diff(warmth, dim=1, prepend=warmth[:, :1])
        pairs = torch.stack([2 * warmth, 4 * change], dim=2).flatten(0, 1)
        features = self.frames(pairs).view(number, frames, -1).transpose(1, 2)
        for layer in self.time:
            features = features + layer(features)
        logits: Tensor = self.classes(features).transpose(1, 2)
        return logits


def train_tcn(training: Sequence[Warmth], options: TcnOptions) -> Tcn:
    """Train on random windows of the recordings."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    network = Tcn()
    optimizer = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=options.steps)
    samples = [(one.frames, frame_labels(one)) for one in training]
    for _ in range(options.steps):
        chosen = rng.choice(len(samples), options.batch)
        windows = [_window(samples[index], options.window, rng) for index in chosen.tolist()]
        warmth = torch.from_numpy(np.stack([frames for frames, _ in windows]))
        labels = torch.from_numpy(np.stack([labels for _, labels in windows]))
        loss = nn.functional.binary_cross_entropy_with_logits(network(warmth), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def frame_labels(recording: Warmth) -> Scores:
    """float32 [T, 3]: 1 in the frames of each class's actions."""
    times_s = np.arange(len(recording.frames)) / recording.fps
    labels = np.zeros((len(times_s), len(CLASSES)), np.float32)
    for one in recording.clip.instances:
        labels[(times_s >= one.start_s) & (times_s < one.end_s), CLASSES.index(one.label)] = 1
    return labels


def _window(sample: tuple[Array, Scores], length: int, rng: np.random.Generator) -> tuple[Array, Scores]:
    """A random window [length, 16, 16] and its labels [length, 3], turned, shifted by up to 3 pixels and scaled."""
    frames, labels = sample
    missing = max(0, length - len(frames))
    first = int(rng.integers(len(frames) + missing - length + 1))
    frames = np.pad(frames[first : first + length], ((0, missing), (0, 0), (0, 0)))
    labels = np.pad(labels[first : first + length], ((0, missing), (0, 0)))
    frames = np.rot90(frames, int(rng.integers(4)), axes=(1, 2))
    frames = frames[:, ::-1] if rng.random() < 0.5 else frames
    down, right = rng.integers(-3, 4, 2)
    side = frames.shape[1]
    padded = np.pad(frames, ((0, 0), (3, 3), (3, 3)))[:, 3 + down : 3 + down + side, 3 + right : 3 + right + side]
    noise = rng.normal(0, 0.03, padded.shape)
    return (padded * rng.uniform(0.4, 1.3) + noise).astype(np.float32), labels


def score_tcn(network: Tcn, recordings: Sequence[Warmth]) -> list[Scores]:
    """Scores [T, 3] of whole recordings."""
    with torch.inference_mode():
        return [network(torch.from_numpy(one.frames)[None])[0].sigmoid().numpy() for one in recordings]


def run_tcn(data: Path, seed: int) -> list[ScoredInstance]:
    """Train on a data set's training days; the detections of its test day."""
    network = train_tcn(read_warmth(data, "training", FPS), TcnOptions(seed=seed))
    tests = read_warmth(data, "testing", FPS)
    scored = zip(tests, score_tcn(network, tests), strict=True)
    return [found for one, scores in scored for found in detect(one.clip, scores, FPS, RULE)]


def main() -> None:
    def method(data: Path, seed: int) -> tuple[list[ScoredInstance], str]:
        return run_tcn(data, seed), f"reports an action {LOOK_AHEAD_S:.1f} s after its end"

    run_and_judge("Train a temporal convolution network and judge it on the test day.", method)


if __name__ == "__main__":
    main()

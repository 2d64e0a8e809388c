"""Settings of a training, and the options of `train` and `ablate` that change them.

This module imports no torch, so a wrong option is refused at once.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infdet_deploy.config import from_dict, to_dict
from infdet_deploy.datasets.instances import canonical_subset
from infdet_deploy.detections import Ends
from infdet_deploy.errors import ConfigError, UsageError
from infdet_deploy.model.presets import FlowSource, FusionKind, ModelConfig, Streams, Task, expect, preset
from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training, as `run.json` stores them; `--set` and the options change them."""

    steps: int = 360  # optimiser steps
    batch: int = 4  # samples a step, of all processes together
    window_frames: int = 128  # a multiple of 8; shorter clips are padded and masked
    # 0: train on windows. Otherwise on whole clips of any length in bounded memory, this many snippets at once (see
    # `whole_clips`); the batch norms keep their statistics.
    chunk_snippets: int = 0
    learning_rate: float = 1e-3  # the peak, after `warmup`
    fen_rate: float = 10.0  # the FEN's learning rate is this many times higher; its instance norms cancel weight sizes
    warmup: float = 0.08  # share of the steps
    # `cosine` falls to 0 at the last step. `paper`: 6 · 0.01 · batch / training clips instead of learning_rate, divided
    # by 10 when the validation loss has not improved for 10 epochs.
    schedule: Literal["cosine", "paper"] = "cosine"
    weight_decay: float = 5e-4
    clip_norm: float = 5.0  # gradients are scaled down to this norm; 0: never
    # Of the labels in time and of detections, see `detections`: `published` for weights of InfDet's authors.
    ends: Ends = "interpolated"
    patience: int = 0  # stop after this many validations in a row that do not beat the best; 0: never
    average: float = 0.97  # decay of the weights' moving average, which is validated and saved; 0: no average
    teacher: float = 0.0  # first share of the steps in which the flow tower sees TV-L1's flow; the FEN's is noise then
    freeze_towers: bool = False  # do not train the towers
    # Share of the windows that show an action, of each class equally often; the others lie anywhere. 0: all anywhere.
    balance: float = 0.5
    mirror: bool = True  # augmentation
    rotate: bool = False  # augmentation by quarter turns, for sensors that look straight down
    jitter: float = 0.1  # augmentation of brightness and contrast; 0.1: by up to 10 %
    shift: float = 0.125  # augmentation by moving the frame, as a share of its size
    # Of the convolutions. `auto`: bfloat16 if the processor has it. `float16`: for CUDA, with a scaled loss.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "cpu"  # cpu, cuda or cuda:N
    validate_every: int = 180  # steps
    save_every: int = 90  # steps
    # Training windows from which the batch norms' statistics are measured before a validation; 0: the running ones.
    norm_windows: int = 64
    train_subset: str = "training"
    validation_subset: str = "validation"  # selects the best checkpoint
    validation_share: float = 0.1  # of the training clips, held out if the data set has no validation clips
    test_subset: str = "testing"  # evaluated once, at the end
    seed: int = 0

    def __post_init__(self) -> None:
        expect(self, "training", "steps batch validate_every save_every", lambda n: n >= 1, "1 or more")
        window = "a multiple of 8 from 16"
        expect(self, "training", "window_frames", lambda n: n >= MIN_FRAMES and n % FRAMES_PER_SNIPPET == 0, window)
        expect(self, "training", "learning_rate fen_rate", lambda n: 0 < n < math.inf, "a number above 0")
        shares = "warmup average teacher jitter shift validation_share"
        expect(self, "training", "balance", lambda n: 0 <= n <= 1, "0 to 1")
        expect(self, "training", shares, lambda n: 0 <= n < 1, "0 or more, below 1")
        if len({canonical_subset(n) for n in (self.train_subset, self.validation_subset, self.test_subset)}) < 3:
            raise ConfigError("training: train_subset, validation_subset and test_subset must differ")
        numbers = "weight_decay clip_norm norm_windows seed chunk_snippets patience"
        expect(self, "training", numbers, lambda n: 0 <= n < math.inf, "0 or more")
        expect(self, "training", "seed", lambda n: n < 2**31, f"less than {2**31}")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"training: device is '{self.device}', expected cpu, cuda or cuda:N")
        if self.precision == "float16" and not self.device.startswith("cuda"):
            raise ConfigError(f"training: precision float16 is for CUDA, device is {self.device}; use bfloat16")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` reads them back."""
        return to_dict(self)

    @classmethod
    def from_json(cls, values: Any, where: str = "training") -> "TrainConfig":
        """Read a configuration; raises ConfigError naming an unknown key or a wrong value."""
        return from_dict(cls, values, where)


# Settings that fit a preset's network and data better than the defaults of `TrainConfig`.
PRESET_SETTINGS: dict[str, dict[str, Any]] = {
    "array": {"batch": 16, "window_frames": 80, "learning_rate": 2e-3, "rotate": True, "jitter": 0.2},
    "small": {"batch": 8, "window_frames": 96, "learning_rate": 2e-3, "jitter": 0.25},
}
# Steps are chosen so that each action is shown about this often, but at least `TrainConfig.steps`.
SHOWN = {"tiny": 3, "infdet": 3, "array": 15, "small": 6}
MOST_STEPS = 10_000


def _given(**values: Any) -> dict[str, Any]:
    """The values that the user set: all but None and False."""
    return {name: value for name, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True, kw_only=True)
class SettingsOptions:
    """How to train. None means the default of the preset or `TrainConfig`, or the value of the run that is resumed.

    preset: the network's size, see `model.presets`. steps: optimiser steps; default: by the number of actions in the
    training clips (see `steps_for`; `ablate`: 360). seed: of weights and sampling. whole_clips: train on clips at full
    length in bounded memory instead of windows. freeze_towers: do not train the towers. settings: any other fields of
    `TrainConfig`.
    """

    preset: str = "small"
    steps: int | None = None
    seed: int | None = None
    whole_clips: bool = False
    freeze_towers: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def changes(self, like: str | None = None) -> dict[str, Any]:
        """The fields of `TrainConfig` that these options set. like: a preset whose settings fit; default: `preset`."""
        chunk_snippets = CHUNK_SNIPPETS if self.whole_clips else None
        named = _given(
            steps=self.steps, seed=self.seed, chunk_snippets=chunk_snippets, freeze_towers=self.freeze_towers
        )
        return self._defaults(self.preset if like is None else like) | named | dict(self.settings)

    def _defaults(self, like: str) -> dict[str, Any]:
        """The settings of the preset `like`."""
        return PRESET_SETTINGS.get(like, {})

    def steps_for(self, actions: int, config: TrainConfig, like: str | None = None) -> int:
        """Optimiser steps for training clips with this many actions: the given number, or a number by experience.

        like: as in `changes`.
        """
        if self.steps is not None or "steps" in self.settings:
            return config.steps
        shown = config.batch * (1 if config.chunk_snippets else max(config.balance, 0.25))
        times = SHOWN.get(self.preset if like is None else like, 3)
        return min(max(round(times * actions / shown), config.steps), MOST_STEPS)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SettingsOptions):
    """Options of `train`; see also `SettingsOptions`.

    out: the run folder, `runs/PRESET-N` by default, or with `resume` the newest. weights: start from this run,
    .safetensors checkpoint or bundle, or "pretrained"; its network overrides the preset, and parts that do not fit
    start from random values. task … flow_stride: fields of `ModelConfig` to change. resume: continue the run in `out`
    with its own settings. tensorboard: write curves into the run folder.

    Raises ConfigError for values out of range.
    """

    out: Path | None = None
    weights: Path | None = None
    task: Task | None = None
    streams: Streams | None = None
    flow: FlowSource | None = None
    fusion: FusionKind | None = None
    fen_projection: bool = False
    flow_stride: int | None = None
    resume: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        network = preset(self.preset)
        if not self.resume:  # a resumed run contributes its own values
            TrainConfig.from_json(self.changes())
        if self.weights is None and not self.resume:
            self.change_model(network)

    def _defaults(self, like: str) -> dict[str, Any]:
        return {} if self.resume else super()._defaults(like)  # a resumed run has its own

    def change_model(self, model: ModelConfig) -> ModelConfig:
        """`model` with the fields that these options set."""
        changes = _given(
            task=self.task, streams=self.streams, flow=self.flow, fusion=self.fusion,
            fen_projection=self.fen_projection, flow_stride=self.flow_stride,
        )  # fmt: skip
        if changes.get("streams", model.streams) != model.streams and "both" in (changes["streams"], model.streams):
            changes = {"fusion": "sca" if changes["streams"] == "both" else "none", **changes}
        return ModelConfig.from_json(model.to_json() | changes)


@dataclass(frozen=True, kw_only=True)
class AblateOptions(SettingsOptions):
    """Options of `ablate`; see also `SettingsOptions`.

    out: the folder of the rows' run folders. weights: a run, checkpoint or bundle from which every row
    starts, as far as it fits. only: names of rows; all when empty.
    """

    preset: str = "tiny"  # the smallest with all parts of the paper's network
    out: Path = Path("runs/ablation")
    weights: Path | None = None
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        preset(self.preset)
        TrainConfig.from_json(self.changes())


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` pairs; a value is JSON or plain text. Raises UsageError for other text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--set is '{pair}', expected NAME=VALUE, such as learning_rate=3e-4")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found

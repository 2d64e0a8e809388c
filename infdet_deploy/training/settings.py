"""The settings of a training. This module imports no torch."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from infdet_deploy.config import from_dict, to_dict
from infdet_deploy.datasets.instances import canonical_subset
from infdet_deploy.errors import ConfigError
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training."""

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
    patience: int = 0  # stop after this many validations in a row that do not beat the best; 0: never
    average: float = 0.97  # decay of the weights' moving average, which is validated and saved; 0: no average
    teacher: float = 0.0  # first share of the steps in which the flow tower sees TV-L1's flow; the FEN's is noise then
    freeze_towers: bool = False  # do not train the towers
    mirror: bool = True  # augmentation
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
        for name in ("steps", "batch", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training: {name} is {getattr(self, name)}, expected 1 or more")
        if self.window_frames < MIN_FRAMES or self.window_frames % FRAMES_PER_SNIPPET:
            raise ConfigError(f"training: window_frames is {self.window_frames}, expected a multiple of 8 from 16")
        for name in ("learning_rate", "fen_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"training: {name} is {getattr(self, name)}, expected a number above 0")
        for name in ("warmup", "average", "teacher", "jitter", "shift", "validation_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"training: {name} is {getattr(self, name)}, expected 0 or more, below 1")
        if len({canonical_subset(n) for n in (self.train_subset, self.validation_subset, self.test_subset)}) < 3:
            raise ConfigError("training: train_subset, validation_subset and test_subset must differ")
        for name in ("weight_decay", "clip_norm", "norm_windows", "seed", "chunk_snippets", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"training: {name} is {getattr(self, name)}, expected 0 or more")
        if self.seed >= 2**31:
            raise ConfigError(f"training: seed is {self.seed}, expected less than {2**31}")
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

"""How to train, as one frozen configuration."""

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
    """How to train.

    steps, batch, window_frames: optimiser steps, windows a step, frames a window (a multiple of 8; shorter clips are
    padded and masked). chunk_snippets: 0 trains on such windows; else on whole clips of any length in bounded memory,
    so many features at once (see `chunked`), the batch norms' statistics left as they are. learning_rate: the peak,
    after `warmup` (a share of the steps). schedule: `cosine` falls to 0 at
    the last step; `paper` takes 6 · 0.01 · batch / training clips instead of learning_rate and divides it by 10 when
    the validation loss has not improved for 10 epochs. fen_rate: the FEN learns so many times as
    fast; its instance norms make the size of its weights irrelevant. clip_norm: gradients are scaled down to this norm
    (0: never).
    patience: stop after so many validations in a row that are not better than the best one (0: never). average:
    decay of the moving average of the weights, which is what is judged and kept (0: the weights themselves). teacher:
    the share of the steps, from the first, in which the flow tower sees TV-L1's flow, the FEN's being noise at first.
    freeze_towers: both towers stay as they are, for towers trained elsewhere. mirror, jitter, shift: augmentation by
    mirroring, brightness and contrast (0.1: up to 10 %) and moving the picture (share of its size). precision: of the
    convolutions; `auto` is bfloat16 where the processor has it, `float16` is for CUDA, its loss scaled. batch is that
    of all processes together. validate_every and save_every count steps; norm_windows: windows, in batches as in
    training, from which the batch norms' statistics are taken before validation (0: the running ones). train_subset:
    what to learn from. validation_subset: clips to choose the best checkpoint by; where the data set has none, it is
    `validation_share` of the training clips. test_subset: judged once, when training is over, where the set has it.
    """

    steps: int = 360
    batch: int = 4
    window_frames: int = 128
    chunk_snippets: int = 0
    learning_rate: float = 1e-3
    fen_rate: float = 10.0
    warmup: float = 0.08
    schedule: Literal["cosine", "paper"] = "cosine"
    weight_decay: float = 5e-4
    clip_norm: float = 5.0
    patience: int = 0
    average: float = 0.97
    teacher: float = 0.0
    freeze_towers: bool = False
    mirror: bool = True
    jitter: float = 0.1
    shift: float = 0.125
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "cpu"
    validate_every: int = 180
    save_every: int = 90
    norm_windows: int = 64
    train_subset: str = "training"
    validation_subset: str = "validation"
    validation_share: float = 0.1
    test_subset: str = "testing"
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
            raise ConfigError("training: train_subset, validation_subset and test_subset must be three different ones")
        for name in ("weight_decay", "clip_norm", "norm_windows", "seed", "chunk_snippets", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"training: {name} is {getattr(self, name)}, expected 0 or more")
        if self.seed >= 2**31:
            raise ConfigError(f"training: seed is {self.seed}, expected less than {2**31}")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"training: device is '{self.device}', expected cpu, cuda or cuda:N")
        if self.precision == "float16" and not self.device.startswith("cuda"):
            raise ConfigError(f"training: precision float16 is for CUDA, device is {self.device}; take bfloat16")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` gives an equal configuration back."""
        return to_dict(self)

    @classmethod
    def from_json(cls, values: Any, where: str = "training") -> "TrainConfig":
        """Read a configuration; raises ConfigError naming an unknown key or a wrong value."""
        return from_dict(cls, values, where)

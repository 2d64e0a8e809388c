"""Options of `train` and `ablate`. This module imports no torch, so a wrong option is refused at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infdet_deploy.errors import UsageError
from infdet_deploy.model.presets import FlowSource, FusionKind, ModelConfig, Streams, Task, preset
from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS
from infdet_deploy.training.settings import TrainConfig


def _given(**values: Any) -> dict[str, Any]:
    """The values that the user set: all but None and False."""
    return {name: value for name, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True, kw_only=True)
class SettingsOptions:
    """How to train. None means the default of `TrainConfig`, or the value of the run that is resumed.

    steps: optimiser steps. seed: of weights and sampling. whole_clips: train on clips at full length in bounded memory
    instead of windows. freeze_towers: do not train the towers. settings: any other fields of `TrainConfig`.
    """

    steps: int | None = None
    seed: int | None = None
    whole_clips: bool = False
    freeze_towers: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def changes(self) -> dict[str, Any]:
        """The fields of `TrainConfig` that these options set."""
        chunk_snippets = CHUNK_SNIPPETS if self.whole_clips else None
        named = _given(
            steps=self.steps, seed=self.seed, chunk_snippets=chunk_snippets, freeze_towers=self.freeze_towers
        )
        return named | dict(self.settings)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SettingsOptions):
    """Options of `train`; see also `SettingsOptions`.

    preset: the network's size, `tiny` or `infdet` (the paper's). out: the run folder, `runs/PRESET-N` by default, or
    with `resume` the newest. weights: start from this .safetensors checkpoint; its network overrides the preset, and
    parts that do not fit start from random values. task … flow_stride: fields of `ModelConfig` to change. resume:
    continue the run in `out` with its own settings. tensorboard: write curves into the run folder.

    Raises ConfigError for values out of range.
    """

    preset: str = "tiny"
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

    def change_model(self, model: ModelConfig) -> ModelConfig:
        """`model` with the fields that these options set."""
        changes = _given(
            task=self.task, streams=self.streams, flow=self.flow, fusion=self.fusion,
            fen_projection=self.fen_projection, flow_stride=self.flow_stride,
        )  # fmt: skip
        if changes.get("streams", "both") != "both" and model.streams == "both":
            changes = {"fusion": "none", **changes}
        return ModelConfig.from_json(model.to_json() | changes)


@dataclass(frozen=True, kw_only=True)
class AblateOptions(SettingsOptions):
    """Options of `ablate`; see also `SettingsOptions`.

    preset: the network's size. out: the folder of the rows' run folders. weights: a checkpoint from which every row
    starts, as far as it fits. only: names of rows; all when empty.
    """

    preset: str = "tiny"
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

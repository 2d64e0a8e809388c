"""Parameters and multiply-adds of each part of the network, counted from its modules."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from infdet_deploy.errors import UsageError
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig, preset
from infdet_deploy.snippets import MIN_FRAMES, feature_length

# The published figures for 100 frames.
PUBLISHED = {
    "fen": "3,345,091 parameters, 25.3 G; the paper: 3.41 M",
    "infrared_tower": "173.8 G",
    "flow_tower": "173.8 G",
    "sca": "1.53 G; the paper: 135 M per 8 frames",
    "classifier": "0.02 G",
}


@dataclass(frozen=True)
class StageComplexity:
    """One part of the network. multiply_adds: for one clip, counted as published (three equal grey input channels)."""

    name: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Complexity:
    """The complexity of a preset for one clip of `frames` frames.

    fen_parameters_with_projection: the FEN with a projection in layer4, which the paper's parameter count implies.
    sca_multiply_adds_per_snippet: the fusion alone, for 8 frames. Both are 0 for a preset without the part.
    """

    preset: str
    frames: int
    stages: tuple[StageComplexity, ...]
    fen_parameters_with_projection: int
    sca_multiply_adds_per_snippet: int

    @property
    def parameters(self) -> int:
        return sum(stage.parameters for stage in self.stages)

    @property
    def multiply_adds(self) -> int:
        return sum(stage.multiply_adds for stage in self.stages)

    def published(self, stage: str) -> str:
        """The published figures of a stage; empty for presets other than `infdet`."""
        return PUBLISHED[stage] if self.preset == "infdet" else ""

    @property
    def notes(self) -> str:
        """Comparison with the paper; empty for a preset without FEN and SCA."""
        if not self.sca_multiply_adds_per_snippet:
            return ""
        return (
            f"Published in all: 374.4 G. With the projection in layer4 the FEN has "
            f"{self.fen_parameters_with_projection:,} parameters (paper: 3,410,627). SCA needs "
            f"{self.sca_multiply_adds_per_snippet / 1e6:.1f} M for one snippet of 8 frames."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        stages = [dataclasses.asdict(stage) | {"published": self.published(stage.name)} for stage in self.stages]
        totals = {"parameters": self.parameters, "multiply_adds": self.multiply_adds, "notes": self.notes}
        return dataclasses.asdict(self) | {"stages": stages} | totals


def complexity(preset_name: str = "infdet", frames: int = 100) -> Complexity:
    """Count the parameters and multiply-adds of a preset for one clip.

    Raises ConfigError for an unknown preset, UsageError for less than 16 frames.
    """
    if frames < MIN_FRAMES:
        raise UsageError(f"--frames is {frames}; a clip needs at least {MIN_FRAMES}")
    config = preset(preset_name)
    projected = {stage.name: stage for stage in count(dataclasses.replace(config, fen_projection=True), MIN_FRAMES)}
    with_projection = projected["fen"].parameters if "fen" in projected else 0
    return Complexity(preset_name, frames, count(config, frames), with_projection, sca_per_snippet(config))


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """The multiply-adds of a module's convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(*inputs)
    flops: int = counter.get_total_flops()
    return flops // 2


def count(config: ModelConfig, frames: int) -> tuple[StageComplexity, ...]:
    """The complexity of each part for one clip of `frames` frames, in the order of the data flow."""
    with torch.device("meta"):
        network = InfDetNet(config).eval()
        size, small, snippets = config.size, config.flow_size, feature_length(frames)
        features = torch.empty(1, snippets, config.features)
        length = torch.empty(1)
        runs = {
            "fen": (network.fen, (torch.empty(frames - 1, 6, small, small),)),
            "infrared_tower": (network.infrared_tower, (torch.empty(1, 3, frames, size, size),)),
            "flow_tower": (network.flow_tower, (torch.empty(1, config.flow_channels, frames, size, size),)),
            config.fusion: (network.fusion, (features,) * len(network.towers())),
            "classifier": (network.classifier, (features.new_empty(1, snippets, config.fused_features), length)),
        }
        stages = []
        for name, (module, inputs) in runs.items():
            if module is not None and name != "none":
                parameters = sum(p.numel() for p in module.parameters())
                stages.append(StageComplexity(name, parameters, multiply_adds(module, *inputs)))
    return tuple(stages)


def sca_per_snippet(config: ModelConfig) -> int:
    """The fusion's multiply-adds for the shortest clip (one snippet), counted like the paper's figure; 0 without it."""
    return sum(stage.multiply_adds for stage in count(config, MIN_FRAMES) if stage.name == "sca")

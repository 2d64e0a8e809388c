"""Parameters and multiply-adds of each part of the network, counted and not remembered."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import MIN_FRAMES, feature_length


@dataclass(frozen=True)
class StageComplexity:
    """parameters; multiply_adds as published (three equal grey channels computed three times), for one clip."""

    name: str
    parameters: int
    multiply_adds: int


def count(config: ModelConfig, frames: int) -> list[StageComplexity]:
    """The parts' complexity for one clip of `frames` frames, in the order in which data passes them."""
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
        rows = []
        for name, (module, inputs) in runs.items():
            if module is None:
                continue
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                module(*inputs)
            parameters = sum(p.numel() for p in module.parameters())
            rows.append(StageComplexity(name, parameters, counter.get_total_flops() // 2))
    return rows


def sca_per_snippet(config: ModelConfig) -> int:
    """The fusion's multiply-adds for a clip that gives one snippet, which is how the paper's figure comes about."""
    (sca,) = (row for row in count(config, MIN_FRAMES) if row.name == "sca")
    return sca.multiply_adds

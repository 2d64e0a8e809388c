"""Where, in which order and in which precision a network is trained."""

import torch
from torch import nn

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.training.layers import arrange_layers
from infdet_deploy.training.settings import TrainConfig


def arrange(network: InfDetNet, config: TrainConfig) -> InfDetNet:
    """Put the network on its device, its layers in the order that is faster on a processor, 3D kernels with the
    channels last; freeze what stays."""
    network = network.to(config.device)
    if config.device == "cpu":
        arrange_layers(network)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
    for tower in network.towers():
        tower.requires_grad_(not config.freeze_towers)
    return network


def precision(config: TrainConfig) -> torch.dtype:
    """Of the convolutions."""
    if config.precision == "auto":
        fast = torch.cuda.is_bf16_supported() if config.device.startswith("cuda") else _cpu_has_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.precision]


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is converted, which is slower than float32."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False

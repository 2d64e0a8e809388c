"""The network as training runs it: on its device, with layers that compute the published sums faster on a CPU.

Half of a small tower's step was spent in its first layer: the gradient of a kernel over one grey channel runs at a
tenth of the speed of other convolutions, and the flow tower read an enlarged flow. Weights and their names do not
change; results differ by rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.enlargement import small_kernel, spans
from infdet_deploy.model.i3d import I3D, STEM, Mixed, Unit3d, pad_same, same_padding
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.training.options import TrainConfig


def prepare_for_training(network: InfDetNet, config: TrainConfig) -> InfDetNet:
    """Move the network to its device, use the faster layers on a CPU, and freeze the towers if configured.

    3D kernels are stored channels-last. The network is changed in place and returned.
    """
    network = network.to(config.device)
    if config.device == "cpu":
        use_cpu_layers(network)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
    for tower in network.towers():
        tower.requires_grad_(not config.freeze_towers)
    return network


def use_cpu_layers(network: InfDetNet) -> None:
    """Replace pools and first layers by faster equivalents, in place.

    A flow tower then reads the flow at its own size, unless that is the frames' size anyway.
    """
    for module in network.modules():
        if isinstance(module, I3D | Mixed):
            module.pool = max_pool_after_relu
    if network.infrared_tower is not None:
        network.infrared_tower.add_module(STEM, GreyStem(network.infrared_tower.Conv3d_1a_7x7))
    if network.flow_tower is not None and network.config.flow_stride > 1:
        network.flow_tower.add_module(STEM, FlowStem(network.flow_tower.Conv3d_1a_7x7, network.config))
        network.enlarge = _keep_size


def _keep_size(flow: Tensor, stride: int) -> Tensor:
    return flow


def max_pool_after_relu(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """`max_pool_same` of x ≥ 0, without a padded copy: zeros around it and the pool's own −∞ give the same maximum.

    Channels-last makes it ten times faster; the concatenated branches of a single clip are not in that layout.
    """
    x = x.contiguous(memory_format=torch.channels_last_3d)
    before = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[-3:], kernel, stride, strict=True)]
    return F.max_pool3d(x, kernel, stride, before, ceil_mode=True)


class GreyStem(nn.Module):
    """The infrared tower's first layer: [B, 1, T, S, S] → [B, D, T/2, S/2, S/2], S even.

    Columns 2i and 2i+1 become two channels of column i.
    """

    def __init__(self, unit: Unit3d) -> None:
        super().__init__()
        self.conv3d, self.bn = unit.conv3d, unit.bn

    def forward(self, x: Tensor) -> Tensor:
        # One grey channel replaces its three copies; a column of zeros before the 7 makes 4 pairs.
        weight = F.pad(self.conv3d.weight.sum(1), (1, 0))
        stride = self.conv3d.stride
        x = pad_same(x.squeeze(1), weight.shape[1:], stride)
        return F.relu(self.bn(F.conv3d(_pairs(x), _pairs(weight), stride=(*stride[:2], 1))))


def _pairs(x: Tensor) -> Tensor:
    """[N, T, H, W] → [N, 2, T, H, W/2], channels last."""
    pairs: Tensor = x.unflatten(-1, (-1, 2))
    return pairs.movedim(-1, 1).contiguous(memory_format=torch.channels_last_3d)


class FlowStem(nn.Module):
    """The flow tower's first layer: flow [B, c, T, h, h] at its own size → [B, D, T/2, S/2, S/2].

    The frames under a kernel become channels of a 2D convolution (see `model.enlargement`).
    """

    def __init__(self, unit: Unit3d, config: ModelConfig) -> None:
        super().__init__()
        self.conv3d, self.bn = unit.conv3d, unit.bn
        self.spans = spans(config.flow_size, config.flow_stride)

    def forward(self, x: Tensor) -> Tensor:
        batch, (kernel, *_), (stride, *_) = len(x), self.conv3d.kernel_size, self.conv3d.stride
        x = F.pad(x, (0, 0, 0, 0, *same_padding(x.shape[2], kernel, stride)))
        frames = (x.shape[2] - kernel) // stride + 1
        taps = [x[:, :, first : first + stride * frames : stride] for first in range(kernel)]
        x = torch.stack(taps, dim=1).permute(0, 3, 2, 1, 4, 5).flatten(2, 3).flatten(0, 1)  # [B·T/2, c·7, h, h]
        x = x.contiguous(memory_format=torch.channels_last)
        weight = self.conv3d.weight.flatten(1, 2)
        lines = []
        for rows in self.spans:
            band, parts = x[:, :, rows.first : rows.last], []
            for columns in self.spans:
                with torch.autocast(x.device.type, enabled=False):
                    small = small_kernel(weight, rows, columns).movedim(0, 2).flatten(0, 2)
                small = small.contiguous(memory_format=torch.channels_last)
                parts.append(F.conv2d(band[..., columns.first : columns.last], small))
            lines.append(torch.cat(parts, dim=3))
        y = torch.cat(lines, dim=2).permute(0, 2, 3, 1)  # [B·T/2, h, h, phases · phases · D]
        phases = len(self.spans[0].taps)
        y = y.unflatten(-1, (phases, phases, -1)).transpose(2, 3).flatten(3, 4).flatten(1, 2)  # [B·T/2, S/2, S/2, D]
        return F.relu(self.bn(y.unflatten(0, (batch, -1)).permute(0, 4, 1, 2, 3)))

"""The towers' first layers as they are trained: the published sums in another order, several times as fast.

A small network spends most of its time in them: a processor's convolution finds the gradient of a grey channel's
kernel at a tenth of its speed, and the flow is read at 16 times as many pixels as it has. Weights and names stay.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from infdet_deploy.model.enlargement import KERNEL, STRIDE, Span, enlargement, small_kernel, spans
from infdet_deploy.model.i3d import Unit3d, pad_same, same_padding
from infdet_deploy.model.network import InfDetNet

LAYER = "Conv3d_1a_7x7"


def arrange_stems(network: InfDetNet) -> None:
    """Let the network compute its first layers so, in place; what it computes stays the same but for rounding."""
    if network.infrared_tower is not None:
        network.infrared_tower.get_submodule(LAYER).__class__ = GreyStem
    config = network.config
    if network.flow_tower is not None and config.flow_stride > 1:
        stem = network.flow_tower.get_submodule(LAYER)
        stem.__class__ = FlowStem
        assert isinstance(stem, FlowStem)
        stem.spans = spans(enlargement(config.flow_size, config.flow_stride))
        network.__class__ = _SmallFlowNet


class _SmallFlowNet(InfDetNet):
    """The network whose flow tower enlarges the flow itself."""

    def flow_to_features(self, flow: Tensor) -> Tensor:
        assert self.flow_tower is not None
        return self.flow_tower(flow.transpose(1, 2))


class GreyStem(Unit3d):
    """[B, 1, T, S, S] → [B, D, T/2, S/2, S/2]; S even. Pairs of columns are two channels, read without stride."""

    def forward(self, x: Tensor) -> Tensor:
        weight = F.pad(self.conv3d.weight.sum(1), (0, 1))  # a grey channel stands for its three copies
        x = F.pad(pad_same(x, (KERNEL,) * 3, (STRIDE,) * 3).squeeze(1), (0, 1))
        return F.relu(self.bn(F.conv3d(_pairs(x), _pairs(weight), stride=(STRIDE, STRIDE, 1))))


def _pairs(x: Tensor) -> Tensor:
    """[N, T, H, W] → [N, 2, T, H, W/2], channels last."""
    return x.unflatten(-1, (-1, 2)).movedim(-1, 1).contiguous(memory_format=torch.channels_last_3d)


class FlowStem(Unit3d):
    """Flow [B, c, T, h, h], not enlarged → [B, D, T/2, S/2, S/2]. spans: of a line of the flow."""

    spans: list[Span]

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, *same_padding(x.shape[2], KERNEL, STRIDE)))
        frames = (x.shape[2] - KERNEL) // STRIDE + 1
        taps = [x[:, :, first : first + STRIDE * frames : STRIDE] for first in range(KERNEL)]
        batch, joined = len(x), torch.stack(taps, dim=1).permute(0, 3, 2, 1, 4, 5).flatten(2, 3).flatten(0, 1)
        joined = joined.contiguous(memory_format=torch.channels_last)
        weight = self.conv3d.weight.flatten(1, 2)
        lines = []
        for rows in self.spans:
            parts = []
            for columns in self.spans:
                with torch.autocast(x.device.type, enabled=False):
                    kernel = small_kernel(weight, rows, columns).movedim(0, 2).flatten(0, 2)
                kernel = kernel.contiguous(memory_format=torch.channels_last)
                parts.append(F.conv2d(joined[:, :, rows.first : rows.last, columns.first : columns.last], kernel))
            lines.append(torch.cat(parts, dim=3))
        y = torch.cat(lines, dim=2).permute(0, 2, 3, 1)  # [B·T/2, h, h, phases · phases · D]
        phases = len(self.spans[0].taps)
        y = y.unflatten(-1, (phases, phases, -1)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return F.relu(self.bn(y.unflatten(0, (batch, -1)).permute(0, 4, 1, 2, 3)))

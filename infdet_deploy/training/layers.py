"""The towers' layers as they are trained on a processor: the published sums in another order, in less time.

Half of a small tower's step went into its first layer: the gradient of a single grey channel's kernel is found at a
tenth of the speed of other convolutions, and the flow is read enlarged. Weights and their names stay.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from infdet_deploy.model.enlargement import Span, small_kernel, spans
from infdet_deploy.model.i3d import I3D, Mixed, Unit3d, pad_same, same_padding
from infdet_deploy.model.network import InfDetNet


def arrange_layers(network: InfDetNet) -> None:
    """Let the network compute what it computes in this order, in place; results differ by rounding.

    A flow tower then takes the flow as it is and not enlarged, but for one whose flow has the frames' size anyway.
    """
    for module in network.modules():
        if isinstance(module, I3D | Mixed):
            module.pool = max_pool_behind_relu
    config = network.config
    if network.infrared_tower is not None:
        network.infrared_tower.Conv3d_1a_7x7.__class__ = GreyStem
    if network.flow_tower is not None and config.flow_stride > 1:
        stem = network.flow_tower.Conv3d_1a_7x7
        stem.__class__ = FlowStem
        assert isinstance(stem, FlowStem)
        stem.spans = spans(config.flow_size, config.flow_stride)
        network.__class__ = _UnenlargedFlow


class _UnenlargedFlow(InfDetNet):
    """The network whose flow tower enlarges the flow itself."""

    def flow_to_features(self, flow: Tensor) -> Tensor:
        assert self.flow_tower is not None
        return self.flow_tower(flow.transpose(1, 2))


def max_pool_behind_relu(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """`max_pool_same` of x ≥ 0, without a padded copy: zeros around it and the pool's own −∞ give the same maximum.

    With the channels last, which a single clip's joined branches are not, it takes a tenth of the time.
    """
    x = x.contiguous(memory_format=torch.channels_last_3d)
    before = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[-3:], kernel, stride, strict=True)]
    return F.max_pool3d(x, kernel, stride, before, ceil_mode=True)


class GreyStem(Unit3d):
    """[B, 1, T, S, S] → [B, D, T/2, S/2, S/2]; S even. Columns 2i and 2i+1 become two channels of column i."""

    def forward(self, x: Tensor) -> Tensor:
        # A grey channel stands for its three copies; a column of zeros before the 7 makes 4 pairs of them.
        weight = F.pad(self.conv3d.weight.sum(1), (1, 0))
        stride = self.conv3d.stride
        x = pad_same(x.squeeze(1), weight.shape[1:], stride)
        return F.relu(self.bn(F.conv3d(_pairs(x), _pairs(weight), stride=(*stride[:2], 1))))


def _pairs(x: Tensor) -> Tensor:
    """[N, T, H, W] → [N, 2, T, H, W/2], channels last."""
    return x.unflatten(-1, (-1, 2)).movedim(-1, 1).contiguous(memory_format=torch.channels_last_3d)


class FlowStem(Unit3d):
    """Flow [B, c, T, h, h], not enlarged → [B, D, T/2, S/2, S/2]. spans: of a line of the flow.

    The frames that an output sees are its channels.
    """

    spans: list[Span]

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

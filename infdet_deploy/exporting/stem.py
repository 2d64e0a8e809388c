"""A tower's first layer, 7×7×7 with stride 2, as a 2D convolution that multiplies less.

Frames as channels: the 7 frames that an output sees lie side by side in the channels, so one grey channel becomes 7 and
a processor's wide products, which run along the channels, are full.

Bytes as they are: the scaling of grey levels to −1…1 is part of the weights. They are whole numbers that float16,
bfloat16 and uint8 hold exactly, and around the picture lies the level in the middle.

Enlargement inside: the flow's layer works on the flow's own grid (`model.enlargement`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.conv2d import WHOLE_CLIP, Time
from infdet_deploy.model.enlargement import AFTER, BEFORE, KERNEL, STRIDE, small_kernel, spans

LAYER = "Conv3d_1a_7x7"
GREY = 127.5  # the grey level that the network takes as 0


class FlatStem(nn.Module):
    """[T, C, S, S] → [T/2, D, S/2, S/2], BatchNorm folded in, ReLU. weight [D, C, 7, 7, 7], bias [D].

    outside: what lies around the clip, in time as in space.
    """

    kernel, stride = KERNEL, STRIDE

    def __init__(self, weight: Tensor, bias: Tensor, outside: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.transpose(1, 2).flatten(1, 2))
        self.bias = nn.Parameter(bias)
        self.outside = outside

    @classmethod
    def of_bytes(cls, weight: Tensor, bias: Tensor) -> "FlatStem":
        """The stem for grey levels 0…255 as they are; `weight` and `bias` are for those scaled to −1…1."""
        return cls(weight / GREY, bias - weight.sum((1, 2, 3, 4)), GREY)

    def forward(self, x: Tensor, time: Time = WHOLE_CLIP) -> Tensor:
        taps = time.taps(LAYER, x, KERNEL, STRIDE, self.outside)
        # Pictures of one channel one below the other: as channels, a backend may weave them pixel by pixel.
        joined = torch.cat(taps, dim=2 if x.shape[1] == 1 else 1)
        x = joined.reshape(-1, KERNEL * x.shape[1], *x.shape[2:])
        x = F.pad(x, (BEFORE, AFTER, BEFORE, AFTER), value=self.outside)
        return F.relu(F.conv2d(x, self.weight, self.bias, stride=STRIDE))


class EnlargingStem(nn.Module):
    """flow [T, c, h, h] → [T/2, D, h·factor/2, h·factor/2]: enlarged by `factor` (2 or 4), then the stem.

    weight [D, c, 7, 7, 7], bias [D]; size: h.
    """

    kernel, stride = KERNEL, STRIDE

    def __init__(self, weight: Tensor, bias: Tensor, factor: int, size: int) -> None:
        super().__init__()
        self.phases = factor // STRIDE  # outputs for each pixel of the flow, in each direction
        flat = weight.double().transpose(1, 2).flatten(1, 2)  # [D, 7·c, 7, 7]
        lines = spans(size, factor)
        self.slices = [slice(span.first, span.last) for span in lines]
        self.weights = nn.ParameterList()
        for rows in lines:
            for columns in lines:
                kernel = small_kernel(flat, rows, columns).flatten(0, 2)
                self.weights.append(nn.Parameter(kernel.to(weight.dtype)))
        self.bias = nn.Parameter(bias.repeat_interleave(self.phases**2))

    def forward(self, flow: Tensor, time: Time = WHOLE_CLIP) -> Tensor:
        x, weights, parts = torch.cat(time.taps(LAYER, flow, KERNEL, STRIDE), dim=1), iter(self.weights), []
        for rows in self.slices:
            line = [F.relu(F.conv2d(x[:, :, rows, columns], next(weights), self.bias)) for columns in self.slices]
            parts.append(torch.cat(line, dim=3))
        return F.pixel_shuffle(torch.cat(parts, dim=2), self.phases)

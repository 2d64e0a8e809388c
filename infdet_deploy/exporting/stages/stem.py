"""A tower's first layer, 7×7×7 with stride 2, as a 2D convolution with fewer products.

- Frames become channels: the 7 frames that an output reads are concatenated in the channels, so that one grey channel
  becomes 7 and fills a processor's vector units, which run along the channels.
- Grey levels stay 0…255: their scaling to −1…1 is part of the weights. As whole numbers they are exact in float16,
  bfloat16 and uint8. The padding around the picture is the middle level.
- The flow's enlargement is part of the layer, which then reads the small flow (`model.enlargement`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.stages.neighbours import WHOLE_CLIP, TemporalContext
from infdet_deploy.model.enlargement import AFTER, BEFORE, KERNEL, STRIDE, small_kernel, spans
from infdet_deploy.model.i3d import STEM

GREY = 127.5  # the grey level that the network sees as 0


class FlatStem(nn.Module):
    """[T, C, S, S] → [T/2, D, S/2, S/2], with BatchNorm folded in and ReLU. weight [D, C, 7, 7, 7], bias [D].

    outside: the value around the clip, in time and space.
    """

    kernel, stride = KERNEL, STRIDE

    def __init__(self, weight: Tensor, bias: Tensor, outside: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.transpose(1, 2).flatten(1, 2))
        self.bias = nn.Parameter(bias)
        self.outside = outside

    @classmethod
    def of_bytes(cls, weight: Tensor, bias: Tensor) -> "FlatStem":
        """The stem for grey levels 0…255; `weight` and `bias` are for levels scaled to −1…1."""
        return cls(weight / GREY, bias - weight.sum((1, 2, 3, 4)), GREY)

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        taps = context.taps(STEM, x, KERNEL, STRIDE, self.outside)
        # Single-channel pictures are concatenated in height: as channels, a backend may interleave their pixels.
        joined = torch.cat(taps, dim=2 if x.shape[1] == 1 else 1)
        x = joined.reshape(-1, KERNEL * x.shape[1], *x.shape[2:])
        x = F.pad(x, (BEFORE, AFTER, BEFORE, AFTER), value=self.outside)
        return F.relu(F.conv2d(x, self.weight, self.bias, stride=STRIDE))


class EnlargingStem(nn.Module):
    """flow [T, c, h, h] → [T/2, D, h·factor/2, h·factor/2]: enlarge by `factor` (2 or 4), then the stem.

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

    def forward(self, flow: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        x, weights, parts = torch.cat(context.taps(STEM, flow, KERNEL, STRIDE), dim=1), iter(self.weights), []
        for rows in self.slices:
            line = [F.relu(F.conv2d(x[:, :, rows, columns], next(weights), self.bias)) for columns in self.slices]
            parts.append(torch.cat(line, dim=3))
        return F.pixel_shuffle(torch.cat(parts, dim=2), self.phases)

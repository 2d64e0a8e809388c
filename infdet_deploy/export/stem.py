"""A tower's first layer, 7×7×7 with stride 2, as a 2D convolution that multiplies less.

Frames as channels: the 7 frames that an output sees lie side by side in the channels, so one grey channel becomes 7 and
a processor's wide products, which run along the channels, are full.

Bytes as they are: the scaling of grey levels to −1…1 is part of the weights. They are whole numbers that float16,
bfloat16 and uint8 hold exactly, and around the picture lies the level in the middle.

Enlargement inside: the flow is enlarged bilinearly before the layer reads every 2nd pixel of it. Both are linear, so
one small kernel on the flow's own grid gives the same sums: 4 pixels wide instead of 7, on a sixteenth of the pixels
with four times the outputs (one set for each position of an output pixel between two pixels of the flow). Around the
enlarged picture lie zeros, while the enlargement itself goes on with its border pixels. Only the outermost outputs see
the difference; they have kernels of their own.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.export.conv2d import WHOLE_CLIP, Time

KERNEL, STRIDE, BEFORE = 7, 2, 2  # the stem in time, height and width; it is padded 2 before and 3 after
LAYER = "Conv3d_1a_7x7"
AFTER = KERNEL - STRIDE - BEFORE
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


def enlargement(size: int, factor: int) -> Tensor:
    """The matrix [factor·size, size] that enlarges a line bilinearly, as `enlarge_flow` does."""
    unit = torch.eye(size, dtype=torch.float64)[:, None]  # one line for each pixel that alone is 1
    return F.interpolate(unit, scale_factor=float(factor), mode="linear", align_corners=False)[:, 0].T


class EnlargingStem(nn.Module):
    """flow [T, c, h, h] → [T/2, D, h·factor/2, h·factor/2]: enlarged by `factor` (2 or 4), then the stem.

    weight [D, c, 7, 7, 7], bias [D]; size: h.
    """

    kernel, stride = KERNEL, STRIDE

    def __init__(self, weight: Tensor, bias: Tensor, factor: int, size: int) -> None:
        super().__init__()
        self.phases = factor // STRIDE  # outputs for each pixel of the flow, in each direction
        flat = weight.double().transpose(1, 2).flatten(1, 2)  # [D, 7·c, 7, 7]
        lines = spans(enlargement(size, factor))
        self.slices = [slice(span.first, span.last) for span in lines]
        self.weights = nn.ParameterList()
        for rows in lines:
            for columns in lines:
                kernel = torch.einsum("ockl,pki,qlj->opqcij", flat, rows.taps, columns.taps)
                self.weights.append(nn.Parameter(kernel.flatten(0, 2).to(weight.dtype)))
        self.bias = nn.Parameter(bias.repeat_interleave(self.phases**2))

    def forward(self, flow: Tensor, time: Time = WHOLE_CLIP) -> Tensor:
        x, weights, parts = torch.cat(time.taps(LAYER, flow, KERNEL, STRIDE), dim=1), iter(self.weights), []
        for rows in self.slices:
            line = [F.relu(F.conv2d(x[:, :, rows, columns], next(weights), self.bias)) for columns in self.slices]
            parts.append(torch.cat(line, dim=3))
        return F.pixel_shuffle(torch.cat(parts, dim=2), self.phases)


@dataclass(frozen=True)
class Span:
    """Pixels `first` … `last`−1 of a line, over which one kernel moves. taps [phases, 7, width]: how much of each pixel
    under it is in each of the stem's taps."""

    first: int
    last: int
    taps: Tensor


def spans(enlarge: Tensor) -> list[Span]:
    """Cut a line where the kernel over it changes. enlarge: [factor·size, size]."""
    factor = len(enlarge) // enlarge.shape[1]
    padded = F.pad(enlarge, (0, 0, BEFORE, AFTER))
    found: list[Span] = []
    for pixel in range(enlarge.shape[1]):
        starts = range(factor * pixel, factor * (pixel + 1), STRIDE)
        taps = torch.stack([padded[start : start + KERNEL] for start in starts])
        reached = taps.abs().amax((0, 1)).nonzero().flatten()
        first, last = int(reached[0]), int(reached[-1]) + 1
        taps = taps[..., first:last]
        before = found[-1] if found else None
        if before and first == before.last - before.taps.shape[-1] + 1 and torch.equal(taps, before.taps):
            found[-1] = Span(before.first, last, taps)
        else:
            found.append(Span(first, last, taps))
    return found

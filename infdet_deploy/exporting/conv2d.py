"""The towers without 3D operators, for accelerators that have none: time as the batch axis, [T, C, H, W].

A convolution over k frames becomes a 2D one over k copies of its input side by side in the channels, each shifted by a
frame; a max-pool first the maximum over space, then over shifted copies; a temporal stride leaves out frames of each
copy. The weights are those of the folded 3D towers, in another order, so both compute the same sums.

Where a layer's neighbouring frames come from is the business of a `Time`: a clip in one piece has them beside each
other and zeros around it; `stream.py` remembers them from one step to the next.
"""

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.i3d import ENDPOINTS, POOLS

if TYPE_CHECKING:
    from infdet_deploy.exporting.stages import FoldedMixed, FoldedTower, FoldedUnit


def temporal_taps(x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
    """What each of `kernel` taps sees of x [T, C, H, W]: [⌈T/stride⌉, C, H, W], the earliest frames first.

    T is a multiple of the stride, or odd under the kernel 2 and stride 2 of the last pool; there this is SAME padding.
    `outside` lies around the clip.
    """
    before = (kernel - stride) // 2
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, before, kernel - 1 - before), value=outside)
    # Ends counted from the back are constants in the graph, whatever T is.
    return [padded[tap : tap + 1 - kernel or None : stride] for tap in range(kernel)]


class Time(Protocol):
    """How frames meet their neighbours in time, and only here do they. `layer` names who asks, by its endpoint."""

    def taps(self, layer: str, x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
        """What each of `kernel` taps sees of x [T, C, H, W], as `temporal_taps`."""

    def level(self, layer: str, x: Tensor) -> Tensor:
        """x, of a layer that looks at no neighbours, as late as those beside it that look at one on either side."""

    def pairs(self, layer: str, x: Tensor) -> list[Tensor]:
        """x [T, d] → each of its rows that has a next one, and those next ones."""


class WholeClip:
    """A clip in one piece, with zeros, or what else lies outside, before and after it."""

    def taps(self, layer: str, x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
        return temporal_taps(x, kernel, stride, outside)

    def level(self, layer: str, x: Tensor) -> Tensor:
        return x

    def pairs(self, layer: str, x: Tensor) -> list[Tensor]:
        return [x[:-1], x[1:]]


WHOLE_CLIP = WholeClip()


def clip_of(frames: Tensor) -> Tensor:
    """[T, C, H, W] → [1, C, T, H, W], by way of channels last, where no number has to move."""
    return frames.permute(0, 2, 3, 1)[None].permute(0, 4, 1, 2, 3)


def frames_of(clip: Tensor) -> Tensor:
    """[1, C, T, H, W] → [T, C, H, W], in the same way."""
    return clip.permute(0, 2, 3, 4, 1).squeeze(0).permute(0, 3, 1, 2)


class Unit2d(nn.Module):
    """Convolution [T, C, H, W] → [T, D, H, W] with its BatchNorm folded in, ReLU."""

    def __init__(self, unit: "FoldedUnit", layer: str = "") -> None:
        super().__init__()
        weight, self.layer = unit.weight, layer
        self.kernel, self.stride = weight.shape[2], 1
        self.weight = nn.Parameter(weight.transpose(1, 2).flatten(1, 2))  # [D, C, k, h, w] → [D, k·C, h, w]
        self.bias = unit.bias

    def forward(self, x: Tensor, time: Time = WHOLE_CLIP) -> Tensor:
        joined = torch.cat(time.taps(self.layer, x, self.kernel), dim=1) if self.kernel > 1 else x
        return F.relu(F.conv2d(joined, self.weight, self.bias, padding=self.kernel // 2))


def max_pool(
    x: Tensor,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: int = 0,
    layer: str = "",
    time: Time = WHOLE_CLIP,
) -> Tensor:
    """The maximum over space, then over time; x [T, C, H, W] has nothing below 0, the value around a clip."""
    x = F.max_pool2d(x, kernel[1:], stride[1:], padding, ceil_mode=True)
    return reduce(torch.maximum, time.taps(layer, x, kernel[0], stride[0])) if kernel[0] > 1 else x


Pool = Callable[..., Tensor]  # called as `max_pool`


class Mixed2d(nn.Module):
    """Inception block [T, C, H, W] → [T, D, H, W]; unit, pool: as of `Tower2d`."""

    def __init__(
        self, block: "FoldedMixed", layer: str = "", unit: type[nn.Module] = Unit2d, pool: Pool = max_pool
    ) -> None:
        super().__init__()
        self.layer, self.pool = layer, pool
        self.b0 = Unit2d(block.b0)
        self.b1a, self.b1b = Unit2d(block.b1a), unit(block.b1b, f"{layer}.b1b")
        self.b2a, self.b2b = Unit2d(block.b2a), unit(block.b2b, f"{layer}.b2b")
        self.b3b = Unit2d(block.b3b)

    def forward(self, x: Tensor, time: Time = WHOLE_CLIP) -> Tensor:
        b0 = time.level(f"{self.layer}.b0", self.b0(x))
        b1, b2 = self.b1b(self.b1a(x), time), self.b2b(self.b2a(x), time)
        pooled = self.pool(x, (3, 3, 3), (1, 1, 1), 1, layer=f"{self.layer}.pool", time=time)
        return torch.cat((b0, b1, b2, self.b3b(pooled)), dim=1)


class Tower2d(nn.Module):
    """A folded tower's twin: [T, C, S, S] float32 → features [T', d] float32, with the same `dtype` and `begin`.

    unit, pool: the convolutions and pools that look at neighbours in time.
    """

    def __init__(self, tower: "FoldedTower", unit: type[nn.Module] = Unit2d, pool: Pool = max_pool) -> None:
        super().__init__()
        self.dtype, self.begin, self.pool = tower.dtype, tower.begin, pool
        for name, child in tower.named_children():
            if name.startswith("Mixed"):
                child = Mixed2d(child, name, unit, pool)  # type: ignore[arg-type]
            elif name == "Conv3d_2c_3x3":  # those before it are 2D as they come
                child = unit(child, name)
            self.add_module(name, child)

    def forward(self, x: Tensor, time: Time = WHOLE_CLIP) -> Tensor:
        for name in ENDPOINTS:
            if name == self.begin:
                x = x.to(self.dtype)
            x = self.pool(x, *POOLS[name], layer=name, time=time) if name in POOLS else getattr(self, name)(x, time)
        # The mean over space and of two neighbours in float32: 98 float16 addends would lose digits.
        x = F.avg_pool2d(x.float(), x.shape[-2:]).squeeze((2, 3))
        first, second = time.pairs("mean", x)
        return (first + second) / 2

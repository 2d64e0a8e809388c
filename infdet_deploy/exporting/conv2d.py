"""Towers without 3D operators, for accelerators that support none: time is the batch axis, [T, C, H, W].

A convolution over k frames becomes a 2D convolution over k copies of its input, each shifted by a frame, concatenated
in the channels. A max-pool computes the maximum over space, then over shifted copies; a temporal stride drops frames of
each copy. The weights are those of the folded 3D towers in another order, so both compute the same sums.
"""

from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.folded import FoldedMixed, FoldedTower, FoldedUnit, Unit2d
from infdet_deploy.exporting.temporal import WHOLE_CLIP, TemporalContext
from infdet_deploy.model.i3d import ENDPOINTS, POOLS

Pool = Callable[..., Tensor]  # called as `max_pool`


def max_pool(
    x: Tensor,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: int = 0,
    layer: str = "",
    context: TemporalContext = WHOLE_CLIP,
) -> Tensor:
    """The maximum over space, then over time; x [T, C, H, W] is at least 0, the value around a clip."""
    x = F.max_pool2d(x, kernel[1:], stride[1:], padding, ceil_mode=True)
    return reduce(torch.maximum, context.taps(layer, x, kernel[0], stride[0])) if kernel[0] > 1 else x


class Mixed2d(nn.Module):
    """Inception block [T, C, H, W] → [T, D, H, W]; unit, pool: as in `Tower2d`."""

    def __init__(
        self, block: FoldedMixed, layer: str = "", unit: type[nn.Module] = Unit2d, pool: Pool = max_pool
    ) -> None:
        super().__init__()
        self.layer, self.pool = layer, pool
        self.b0 = Unit2d(block.b0)
        self.b1a, self.b1b = Unit2d(block.b1a), unit(block.b1b, f"{layer}.b1b")
        self.b2a, self.b2b = Unit2d(block.b2a), unit(block.b2b, f"{layer}.b2b")
        self.b3b = Unit2d(block.b3b)

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        b0 = context.align(f"{self.layer}.b0", self.b0(x))
        b1, b2 = self.b1b(self.b1a(x), context), self.b2b(self.b2a(x), context)
        pooled = self.pool(x, (3, 3, 3), (1, 1, 1), 1, layer=f"{self.layer}.pool", context=context)
        return torch.cat((b0, b1, b2, self.b3b(pooled)), dim=1)


class Tower2d(nn.Module):
    """A folded tower in 2D: [T, C, S, S] float32 → features [T', d] float32, with the same `dtype` and `start`.

    unit, pool: the convolutions and pools that read neighbours in time.
    """

    def __init__(self, tower: FoldedTower, unit: type[nn.Module] = Unit2d, pool: Pool = max_pool) -> None:
        super().__init__()
        self.dtype, self.start, self.pool = tower.dtype, tower.start, pool
        for name, child in tower.named_children():
            if isinstance(child, FoldedMixed):
                child = Mixed2d(child, name, unit, pool)
            elif isinstance(child, FoldedUnit):
                child = unit(child, name)
            self.add_module(name, child)

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        for name in ENDPOINTS:
            if name == self.start:
                x = x.to(self.dtype)
            if name in POOLS:
                x = self.pool(x, *POOLS[name], layer=name, context=context)
            else:
                x = getattr(self, name)(x, context)
        # The mean over space and of two neighbours is float32: a float16 sum of 98 values loses digits.
        x = F.avg_pool2d(x.float(), x.shape[-2:]).squeeze((2, 3))
        first, second = context.pairs("mean", x)
        return (first + second) / 2

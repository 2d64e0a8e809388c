"""The exported towers: I3D with every BatchNorm folded into its convolution, with or without 3D operators.

Accelerators that support no 3D operators get `LAYERS_2D`, where time is the batch axis, [T, C, H, W]: a convolution
over k frames becomes a 2D convolution over k copies of its input, each shifted by a frame, concatenated in the
channels. A max-pool computes the maximum over space, then over shifted copies; a temporal stride drops frames of each
copy. The weights are the same in another order, so both compute the same sums.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.stages.neighbours import WHOLE_CLIP, TemporalContext, clip_of
from infdet_deploy.model.i3d import ENDPOINTS, I3D, POOLS, STEM, Mixed, Unit3d


def fold(unit: Unit3d, grey: bool = False) -> tuple[Tensor, Tensor]:
    """A convolution's weight [D, C, k, h, w] and bias [D] with its BatchNorm folded in.

    grey: sum the three input channels' kernels into one.
    """
    conv, bn = unit.conv3d, unit.bn
    assert bn.running_var is not None
    assert bn.running_mean is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    weight = conv.weight * scale[:, None, None, None, None]
    return weight.sum(1, keepdim=True) if grey else weight, bn.bias - bn.running_mean * scale


class FoldedConv3d(nn.Module):
    """A folded unit with ReLU: [1, C, T, H, W], or [T, C, H, W], → [1, D, T, H, W]. layer: its name in the tower."""

    stride = 1

    def __init__(self, unit: Unit3d, layer: str = "") -> None:
        super().__init__()
        weight, bias = fold(unit)
        self.layer, self.kernel = layer, weight.shape[2]
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        x = clip_of(x) if x.ndim == 4 else x
        return F.relu(F.conv3d(x, self.weight, self.bias, padding=self.kernel // 2))


class FoldedConv2d(FoldedConv3d):
    """A folded unit as a 2D convolution over shifted copies of its input, with ReLU: [T, C, H, W] → [T, D, H, W]."""

    def __init__(self, unit: Unit3d, layer: str = "") -> None:
        super().__init__(unit, layer)
        self.weight = nn.Parameter(self.weight.transpose(1, 2).flatten(1, 2))  # [D, C, k, h, w] → [D, k·C, h, w]

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        joined = torch.cat(context.taps(self.layer, x, self.kernel), dim=1) if self.kernel > 1 else x
        return F.relu(F.conv2d(joined, self.weight, self.bias, padding=self.kernel // 2))


def max_pool_3d(
    x: Tensor,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: int = 0,
    layer: str = "",
    context: TemporalContext = WHOLE_CLIP,
) -> Tensor:
    """The maximum over time and space of [1, C, T, H, W], or over space alone of [T, C, H, W].

    After a ReLU nothing is below the pad value 0, so padding with 0 and with −∞ give the same maximum. Even lengths
    need padding at the end only, which is what `ceil_mode` does. Only the last pool, of width 2, sees odd lengths, and
    needs the same.
    """
    if x.ndim == 4:
        return F.max_pool2d(x, kernel[1:], stride[1:], padding, ceil_mode=True)
    return F.max_pool3d(x, kernel, stride, padding, ceil_mode=not padding)


def max_pool_2d(
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


class Layers(NamedTuple):
    """How a tower computes: its 1×1×1 convolutions, its convolutions over time, its pools."""

    pointwise: type[nn.Module]
    convolution: type[nn.Module]
    pool: Callable[..., Tensor]  # called as `max_pool_2d`


LAYERS_3D = Layers(FoldedConv3d, FoldedConv3d, max_pool_3d)
LAYERS_2D = Layers(FoldedConv2d, FoldedConv2d, max_pool_2d)


class FoldedMixed(nn.Module):
    """Inception block, on [1, C, T, H, W] or [T, C, H, W] as its `layers`."""

    def __init__(self, block: Mixed, name: str = "", layers: Layers = LAYERS_3D) -> None:
        super().__init__()
        self.name, self.pool = name, layers.pool
        self.b0 = layers.pointwise(block.b0)
        self.b1a, self.b1b = layers.pointwise(block.b1a), layers.convolution(block.b1b, f"{name}.b1b")
        self.b2a, self.b2b = layers.pointwise(block.b2a), layers.convolution(block.b2b, f"{name}.b2b")
        self.b3b = layers.pointwise(block.b3b)

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        b0 = context.align(f"{self.name}.b0", self.b0(x))
        b1, b2 = self.b1b(self.b1a(x), context), self.b2b(self.b2a(x), context)
        pooled = self.pool(x, (3, 3, 3), (1, 1, 1), 1, layer=f"{self.name}.pool", context=context)
        return torch.cat((b0, b1, b2, self.b3b(pooled)), dim=1)


class FoldedTower(nn.Module):
    """[T, C, S, S] float32 → features [T', d] float32; endpoints before `start` are float32, the others in `dtype`.

    stem: the first layer (`stem.py`). Time is the batch axis until the first 3D convolution after the stem.
    """

    def __init__(self, tower: I3D, stem: nn.Module, dtype: torch.dtype, start: str, layers: Layers) -> None:
        super().__init__()
        self.dtype, self.start, self.pool = dtype, start, layers.pool
        for name, child in tower.named_children():
            if isinstance(child, Mixed):
                self.add_module(name, FoldedMixed(child, name, layers))
            elif name == STEM:
                self.add_module(name, stem)
            elif isinstance(child, Unit3d):
                convolution = layers.convolution if child.conv3d.kernel_size[0] > 1 else FoldedConv2d
                self.add_module(name, convolution(child, name))
            if ENDPOINTS.index(name) >= ENDPOINTS.index(start):
                getattr(self, name).to(dtype)

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        for name in ENDPOINTS:
            if name == self.start:
                x = x.to(self.dtype)
            if name in POOLS:
                x = self.pool(x, *POOLS[name], layer=name, context=context)
            else:
                x = getattr(self, name)(x, context)
        # The mean over space and of two neighbours is float32: a float16 sum of 98 values loses digits.
        if x.ndim == 5:
            return F.avg_pool3d(x.float(), (2, *x.shape[-2:]), stride=1).squeeze((0, 3, 4)).transpose(0, 1)
        first, second = context.pairs("mean", F.avg_pool2d(x.float(), x.shape[-2:]).squeeze((2, 3)))
        return (first + second) / 2

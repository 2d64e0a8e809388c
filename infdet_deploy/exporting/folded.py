"""A tower with every BatchNorm folded into its convolution: the layers of all exported towers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.stem import LAYER as STEM
from infdet_deploy.exporting.temporal import WHOLE_CLIP, TemporalContext, clip_of
from infdet_deploy.model.i3d import ENDPOINTS, I3D, POOLS, Mixed, Unit3d


class FoldedUnit(nn.Module):
    """Convolution with its BatchNorm folded in, ReLU. grey: sum the three input channels' kernels into one."""

    def __init__(self, unit: Unit3d, grey: bool = False) -> None:
        super().__init__()
        conv, bn = unit.conv3d, unit.bn
        assert bn.running_var is not None
        assert bn.running_mean is not None
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        weight = conv.weight * scale[:, None, None, None, None]
        self.weight = nn.Parameter(weight.sum(1, keepdim=True) if grey else weight)
        self.bias = nn.Parameter(bn.bias - bn.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv3d(x, self.weight, self.bias, padding=self.weight.shape[2] // 2))


class Unit2d(nn.Module):
    """A folded unit as a 2D convolution over shifted copies of its input: [T, C, H, W] → [T, D, H, W], ReLU."""

    def __init__(self, unit: FoldedUnit, layer: str = "") -> None:
        super().__init__()
        self.layer, self.kernel, self.stride = layer, unit.weight.shape[2], 1
        self.weight = nn.Parameter(unit.weight.transpose(1, 2).flatten(1, 2))  # [D, C, k, h, w] → [D, k·C, h, w]
        self.bias = unit.bias

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        joined = torch.cat(context.taps(self.layer, x, self.kernel), dim=1) if self.kernel > 1 else x
        return F.relu(F.conv2d(joined, self.weight, self.bias, padding=self.kernel // 2))


class FoldedMixed(nn.Module):
    """Inception block [1, C, T, H, W] → [1, D, T, H, W]."""

    def __init__(self, block: Mixed) -> None:
        super().__init__()
        self.b0 = FoldedUnit(block.b0)
        self.b1a, self.b1b = FoldedUnit(block.b1a), FoldedUnit(block.b1b)
        self.b2a, self.b2b = FoldedUnit(block.b2a), FoldedUnit(block.b2b)
        self.b3b = FoldedUnit(block.b3b)

    def forward(self, x: Tensor) -> Tensor:
        # After a ReLU nothing is below the pad value 0, so padding with 0 and with −∞ give the same maximum.
        pooled = F.max_pool3d(x, 3, stride=1, padding=1)
        return torch.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)), dim=1)


class FoldedTower(nn.Module):
    """[T, C, S, S] float32 → features [T', d] float32; endpoints before `start` are float32, the others in `dtype`.

    stem: the first layer (`stem.py`). Time is the batch axis until the first convolution over time after the stem.
    """

    def __init__(self, tower: I3D, stem: nn.Module, dtype: torch.dtype, start: str) -> None:
        super().__init__()
        self.dtype, self.start = dtype, start
        for name, child in tower.named_children():
            if isinstance(child, Mixed):
                self.add_module(name, FoldedMixed(child))
            elif name == STEM:
                self.add_module(name, stem)
            elif isinstance(child, Unit3d):
                unit = FoldedUnit(child)
                self.add_module(name, Unit2d(unit) if name == "Conv3d_2b_1x1" else unit)
            if ENDPOINTS.index(name) >= ENDPOINTS.index(start):
                getattr(self, name).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        for name in ENDPOINTS:
            if name == self.start:
                x = x.to(self.dtype)
            if name == "Conv3d_2c_3x3":
                x = clip_of(x)
            if name not in POOLS:
                x = getattr(self, name)(x)
                continue
            # Even lengths need padding at the end only, which is what `ceil_mode` does. Only the last pool, of width 2,
            # sees odd lengths, and needs the same.
            kernel, stride = POOLS[name]
            if x.ndim == 4:
                x = F.max_pool2d(x, kernel[1:], stride[1:], ceil_mode=True)
            else:
                x = F.max_pool3d(x, kernel, stride, ceil_mode=True)
        # The mean over space is float32: a float16 sum of 98 values loses digits.
        x = F.avg_pool3d(x.float(), (2, x.shape[-2], x.shape[-1]), stride=1)
        return x.squeeze((0, 3, 4)).transpose(0, 1)

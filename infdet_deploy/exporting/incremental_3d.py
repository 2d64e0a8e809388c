"""Incremental towers with 3D operators: convolutions and pools without shifted copies of their input.

They replace the layers of `conv2d.py` that read neighbours in time, and run over the kept and the new inputs together,
without temporal padding. The stem, whose frames are channels, stays the same.
"""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.folded import FoldedUnit
from infdet_deploy.exporting.temporal import clip_of, frames_of

if TYPE_CHECKING:
    from infdet_deploy.exporting.incremental import StepContext


class IncrementalUnit3d(nn.Module):
    """Convolution over k frames, [T, C, H, W] → [T, D, H, W], with its BatchNorm folded in, ReLU."""

    def __init__(self, unit: FoldedUnit, layer: str) -> None:
        super().__init__()
        self.weight, self.bias, self.layer = unit.weight, unit.bias, layer
        self.kernel, self.stride = unit.weight.shape[2], 1

    def forward(self, x: Tensor, context: "StepContext") -> Tensor:
        x, space = clip_of(context.window(self.layer, x)), self.kernel // 2
        return frames_of(F.relu(F.conv3d(x, self.weight, self.bias, padding=(0, space, space))))


def incremental_max_pool_3d(
    x: Tensor,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: int = 0,
    *,
    layer: str,
    context: "StepContext",
) -> Tensor:
    """As `conv2d.max_pool`: the maximum over space, then over time."""
    x = F.max_pool2d(x, kernel[1:], stride[1:], padding, ceil_mode=True)
    if kernel[0] == 1:
        return x
    x = clip_of(context.window(layer, x))
    return frames_of(F.max_pool3d(x, (kernel[0], 1, 1), (stride[0], 1, 1)))

"""Incremental towers with 3D operators: convolutions and pools without shifted copies of their input.

They replace the layers of `LAYERS_2D` that read neighbours in time, and run over the kept and the new inputs together,
without temporal padding. The stem, whose frames are channels, stays the same.
"""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from infdet_deploy.exporting.stages.neighbours import clip_of, frames_of
from infdet_deploy.exporting.stages.tower import FoldedConv2d, FoldedConv3d, Layers

if TYPE_CHECKING:
    from infdet_deploy.exporting.incremental.tower import StepContext


class IncrementalConv3d(FoldedConv3d):
    """A folded unit over k frames with ReLU: [T, C, H, W] → [T, D, H, W]."""

    def forward(self, x: Tensor, context: "StepContext") -> Tensor:  # type: ignore[override]
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
    """As `max_pool_2d`: the maximum over space, then over time."""
    x = F.max_pool2d(x, kernel[1:], stride[1:], padding, ceil_mode=True)
    if kernel[0] == 1:
        return x
    x = clip_of(context.window(layer, x))
    return frames_of(F.max_pool3d(x, (kernel[0], 1, 1), (stride[0], 1, 1)))


INCREMENTAL_LAYERS_3D = Layers(FoldedConv2d, IncrementalConv3d, incremental_max_pool_3d)

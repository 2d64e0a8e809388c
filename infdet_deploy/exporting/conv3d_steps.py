"""Steps with 3D operators, for a backend that has them: convolutions and pools without shifted copies of their input.

In `conv2d.py`'s towers they stand in the place of those that look at their neighbours in time, and move, without
padding in time, over the inputs kept from earlier steps and the new ones in one piece. The stem, which takes its frames
as channels, stays as it is.
"""

from typing import TYPE_CHECKING, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.conv2d import Time, clip_of, frames_of

if TYPE_CHECKING:
    from infdet_deploy.exporting.stages import FoldedUnit


class TimeInOnePiece(Time, Protocol):
    """A `Time` that can give neighbouring frames in one piece too."""

    def around(self, layer: str, x: Tensor) -> Tensor:
        """All that a layer's kernel moves over to give its outputs for x, one for each `stride` frames."""


class UnitStep3d(nn.Module):
    """Convolution over k frames, [T, C, H, W] → [T, D, H, W], with its BatchNorm folded in, ReLU."""

    def __init__(self, unit: "FoldedUnit", layer: str) -> None:
        super().__init__()
        self.weight, self.bias, self.layer = unit.weight, unit.bias, layer
        self.kernel, self.stride = unit.weight.shape[2], 1

    def forward(self, x: Tensor, time: TimeInOnePiece) -> Tensor:
        x, space = clip_of(time.around(self.layer, x)), self.kernel // 2
        return frames_of(F.relu(F.conv3d(x, self.weight, self.bias, padding=(0, space, space))))


def max_pool_step_3d(
    x: Tensor,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: int = 0,
    *,
    layer: str,
    time: TimeInOnePiece,
) -> Tensor:
    """As `conv2d.max_pool`: the maximum over space, then over time."""
    x = F.max_pool2d(x, kernel[1:], stride[1:], padding, ceil_mode=True)
    if kernel[0] == 1:
        return x
    x = clip_of(time.around(layer, x))
    return frames_of(F.max_pool3d(x, (kernel[0], 1, 1), (stride[0], 1, 1)))

"""How a tower's layers read neighbouring frames when time is the batch axis, [T, C, H, W]."""

import torch.nn.functional as F
from torch import Tensor


def temporal_taps(x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
    """The inputs of each of `kernel` taps over x [T, C, H, W]: [⌈T/stride⌉, C, H, W] each, the earliest first.

    T is a multiple of the stride, or odd under the kernel 2 and stride 2 of the last pool; this is SAME padding.
    outside: the value before and after the clip.
    """
    before = (kernel - stride) // 2
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, before, kernel - 1 - before), value=outside)
    # Ends counted from the back are constants in the graph, whatever T is.
    return [padded[tap : tap + 1 - kernel or None : stride] for tap in range(kernel)]


class TemporalContext:
    """Supplies a layer's neighbours in time, here for a whole clip; `StepContext` keeps them from step to step.

    layer: the layer's name, after its endpoint.
    """

    def taps(self, layer: str, x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
        """The inputs of each of `kernel` taps over x [T, C, H, W], as `temporal_taps`."""
        return temporal_taps(x, kernel, stride, outside)

    def align(self, layer: str, x: Tensor) -> Tensor:
        """x of a layer without neighbours, delayed like the parallel layers, which wait for a later frame."""
        return x

    def pairs(self, layer: str, x: Tensor) -> list[Tensor]:
        """x [T, d] → all rows but the last, and the row after each of them."""
        return [x[:-1], x[1:]]


WHOLE_CLIP = TemporalContext()


def clip_of(frames: Tensor) -> Tensor:
    """[T, C, H, W] → [1, C, T, H, W], through channels last, which moves no data."""
    return frames.permute(0, 2, 3, 1)[None].permute(0, 4, 1, 2, 3)


def frames_of(clip: Tensor) -> Tensor:
    """The inverse of `clip_of`."""
    return clip.permute(0, 2, 3, 4, 1).squeeze(0).permute(0, 3, 1, 2)

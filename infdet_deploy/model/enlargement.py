"""The flow tower's first layer on the flow's own grid: the enlargement to the frames' size inside the kernel.

The flow is enlarged bilinearly before the layer reads every 2nd pixel of it. Both are linear, so one small kernel on
the flow's grid gives the same sums. Of a flow at every 4th pixel: 4 pixels wide instead of 7, on a sixteenth of the
pixels with four times the outputs (one set for each position of an output pixel between two pixels of the flow). Around
the enlarged picture lie zeros, while the enlargement itself goes on with its border pixels. Only the outermost outputs
see the difference; they have kernels of their own.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL, STRIDE, BEFORE = 7, 2, 2  # the stem in time, height and width; even lengths are padded 2 before and 3 after
AFTER = KERNEL - STRIDE - BEFORE


def _enlargement(size: int, factor: int) -> Tensor:
    """The matrix [factor·size, size] that enlarges a line bilinearly, as `enlarge_flow` does."""
    unit = torch.eye(size, dtype=torch.float64)[:, None]  # one line for each pixel that alone is 1
    return F.interpolate(unit, scale_factor=float(factor), mode="linear", align_corners=False)[:, 0].T


@dataclass(frozen=True)
class Span:
    """Pixels `first` … `last`−1 of a line, over which one kernel moves. taps [phases, 7, width]: how much of each pixel
    under it is in each of the stem's taps."""

    first: int
    last: int
    taps: Tensor


def spans(size: int, factor: int) -> list[Span]:
    """A line of `size` pixels that is enlarged by `factor`, cut where the kernel over it changes."""
    padded = F.pad(_enlargement(size, factor), (0, 0, BEFORE, AFTER))
    found: list[Span] = []
    for pixel in range(size):
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


def small_kernel(weight: Tensor, rows: Span, columns: Span) -> Tensor:
    """The kernel over the flow itself. weight: [D, K, 7, 7], over the enlarged flow → [D, phases, phases, K, h, w], the
    phases of a row of outputs and of a column."""
    vertical, horizontal = rows.taps.to(weight), columns.taps.to(weight)
    return torch.einsum("ockl,pki,qlj->opqcij", weight, vertical, horizontal)

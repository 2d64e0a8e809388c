"""Kernels of the flow tower's first layer on the flow's own grid, with the enlargement to the frames' size folded in.

The flow is enlarged bilinearly before the layer reads every 2nd pixel of it. Both steps are linear, so one small kernel
on the flow's grid computes the same sums. For a flow at every 4th pixel it is 4 pixels wide instead of 7, on a
sixteenth of the pixels, with four times the outputs (one set for each position of an output pixel between two flow
pixels). The enlarged picture is padded with zeros, while the enlargement repeats its border pixels, so the outermost
outputs need other kernels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL, STRIDE, BEFORE = 7, 2, 2  # the stem in time, height and width; even lengths are padded 2 before and 3 after
AFTER = KERNEL - STRIDE - BEFORE


def _enlargement(size: int, factor: int) -> Tensor:
    """The matrix [factor·size, size] of the bilinear enlargement of a line, as in `enlarge_flow`."""
    unit = torch.eye(size, dtype=torch.float64)[:, None]  # one line per pixel, in which only that pixel is 1
    return F.interpolate(unit, scale_factor=float(factor), mode="linear", align_corners=False)[:, 0].T


@dataclass(frozen=True)
class Span:
    """Pixels `first` … `last`−1 of a line, over which one kernel moves.

    taps [phases, 7, width]: the weight of each pixel under the kernel in each of the stem's taps.
    """

    first: int
    last: int
    taps: Tensor


def spans(size: int, factor: int) -> list[Span]:
    """A line of `size` pixels, enlarged by `factor`, divided where the kernel over it changes."""
    padded = F.pad(_enlargement(size, factor), (0, 0, BEFORE, AFTER))
    result: list[Span] = []
    for pixel in range(size):
        starts = range(factor * pixel, factor * (pixel + 1), STRIDE)
        taps = torch.stack([padded[start : start + KERNEL] for start in starts])
        reached = taps.abs().amax((0, 1)).nonzero().flatten()
        first, last = int(reached[0]), int(reached[-1]) + 1
        taps = taps[..., first:last]
        before = result[-1] if result else None
        if before and first == before.last - before.taps.shape[-1] + 1 and torch.equal(taps, before.taps):
            result[-1] = Span(before.first, last, taps)
        else:
            result.append(Span(first, last, taps))
    return result


def small_kernel(weight: Tensor, rows: Span, columns: Span) -> Tensor:
    """The kernel over the flow itself. weight: [D, K, 7, 7], over the enlarged flow → [D, phases, phases, K, h, w], the
    phases of a row of outputs and of a column."""
    vertical, horizontal = rows.taps.to(weight), columns.taps.to(weight)
    return torch.einsum("ockl,pki,qlj->opqcij", weight, vertical, horizontal)

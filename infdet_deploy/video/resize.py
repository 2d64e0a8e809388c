"""How a frame becomes a square network input.

1. `resize`, per axis: the mean over the covered area when shrinking (OpenCV's INTER_AREA), linear interpolation between
   pixel centres with clamped edges when enlarging (INTER_LINEAR), nothing when the length already fits.
2. `crop`: a frame whose shorter side is under `size + 2` is first enlarged until that side is `size + 2`, aspect kept;
   then the centre `size`×`size` is cut out.

Both are separable: one weight matrix per axis, computed once per size and applied tap by tap, since each output pixel
depends on a few neighbours only. Arithmetic is float32; results are rounded to the nearest level (half goes up) and
clipped.
"""

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError

Mode = Literal["resize", "crop"]

CROP_MARGIN = 2  # a crop needs this many pixels more than its own size on the shorter side: 226 for 224


def resize(frames: NDArray[Any], size: int, mode: Mode = "resize") -> NDArray[Any]:
    """Resize frames to `size`×`size`.

    Args:
        frames: uint8, or uint16 for thermal counts, [T,H,W] or [H,W].
        size: side of the result in pixels.
        mode: `resize` (the whole picture, aspect not kept) or `crop` (the centre, aspect kept); see the module's text.

    Returns:
        A new array of the same dtype, [T,size,size] or [size,size].

    Raises:
        UsageError: unknown mode, or a size below 1.
        ValueError: not a uint8 or uint16 array of two or three dimensions with at least one pixel a frame.
    """
    check_request(size, mode)
    if frames.dtype not in (np.uint8, np.uint16) or frames.ndim not in (2, 3) or 0 in frames.shape[-2:]:
        raise ValueError(f"resize got {frames.dtype} {list(frames.shape)}; expected uint8 or uint16 [T,H,W] or [H,W]")
    if mode == "crop":
        rows, columns, weights = _crop_plan(frames.shape[-2], frames.shape[-1], size)
        if weights is None:
            return frames[..., rows, columns].copy()
        vertical, horizontal = weights
    else:
        vertical, horizontal = _axis_weights(frames.shape[-2], size), _axis_weights(frames.shape[-1], size)
    stack = frames if frames.ndim == 3 else frames[None]
    result = np.empty((len(stack), size, size), frames.dtype)
    top = np.iinfo(frames.dtype).max
    for index, frame in enumerate(stack):  # one at a time: a float32 copy of a clip would be four times its size
        columns_first = vertical.apply(frame.astype(np.float32)).T
        levels = horizontal.apply(np.ascontiguousarray(columns_first)).T
        result[index] = np.minimum(levels + np.float32(0.5), top)  # storing an integer cuts the fraction off
    return result if frames.ndim == 3 else result[0]


def check_request(size: int, mode: str) -> None:
    """Raise UsageError unless `resize` accepts `size` and `mode`."""
    if mode not in get_args(Mode):
        raise UsageError(f"unknown resize mode {mode!r}; expected one of: {', '.join(get_args(Mode))}")
    if size < 1:
        raise UsageError(f"frame size is {size}; expected a number of pixels of at least 1, such as 224")


class _Taps:
    """A weight matrix [target,source] whose rows have a few neighbouring weights each."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        present = matrix > 0
        source = matrix.shape[1]
        first = present.argmax(axis=1)
        taps = int((source - present[:, ::-1].argmax(axis=1) - first).max())
        index = np.minimum(first, source - taps)[:, None] + np.arange(taps)
        weight = np.take_along_axis(matrix, index, axis=1).astype(np.float32)
        self.index = np.ascontiguousarray(index.T)  # int [taps,target], the source pixels of each output pixel
        self.weight = np.ascontiguousarray(weight.T)[..., None]  # float32 [taps,target,1]

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [source,N] → float32 [target,N]."""
        result: NDArray[np.float32] = pixels[self.index[0]] * self.weight[0]
        for index, weight in zip(self.index[1:], self.weight[1:], strict=True):
            result += pixels[index] * weight
        return result


@lru_cache(maxsize=64)
def _axis_weights(source: int, target: int) -> _Taps:
    """The weights that resize one axis from `source` to `target` pixels."""
    if target >= source:
        return _Taps(_linear_weights(source, target, target / source))
    # Each output pixel is the mean of the input interval it covers, pixels at the interval's ends by their share.
    step = source / target
    start = np.arange(target)[:, None] * step
    pixel = np.arange(source)[None, :]
    overlap = np.minimum(pixel + 1, start + step) - np.maximum(pixel, start)
    return _Taps(np.clip(overlap, 0, None) / step)


def _linear_weights(source: int, target: int, scale: float) -> NDArray[np.float64]:
    """Linear interpolation with half-pixel centres; beyond the outermost centres the edge pixel repeats."""
    centre = np.clip((np.arange(target) + 0.5) / scale - 0.5, 0, source - 1)
    left = np.floor(centre).astype(int)
    weights = np.zeros((target, source))
    rows = np.arange(target)
    weights[rows, left] += 1 - (centre - left)
    weights[rows, np.minimum(left + 1, source - 1)] += centre - left
    return weights


@lru_cache(maxsize=64)
def _crop_plan(height: int, width: int, size: int) -> tuple[slice, slice, tuple[_Taps, _Taps] | None]:
    """The rows and columns of the centre crop and, when the frame must be enlarged first, weights of just that part.

    The longer side is enlarged by the factor of the shorter one, and its length rounded to the nearest integer, as in
    OpenCV: the spacing of pixel centres follows the factor, not the rounded length.
    """
    shorter = min(height, width)
    needed = size + CROP_MARGIN
    if shorter >= needed:
        return _centre(height, size), _centre(width, size), None
    scale = needed / shorter
    tall, wide = round(height * needed / shorter), round(width * needed / shorter)
    rows, columns = _centre(tall, size), _centre(wide, size)
    weights = _linear_weights(height, tall, scale)[rows], _linear_weights(width, wide, scale)[columns]
    return rows, columns, (_Taps(weights[0]), _Taps(weights[1]))


def _centre(length: int, size: int) -> slice:
    # Python's round rounds a half to even (0.5 → 0, 1.5 → 2), as the published preprocessing does.
    offset = round((length - size) / 2)
    return slice(offset, offset + size)

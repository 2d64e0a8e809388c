"""One decoded libav frame → its grey picture, whatever the pixel format."""

from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray


def grey(frame: av.VideoFrame) -> NDArray[Any]:
    """The brightness of a decoded frame.

    Args:
        frame: a frame in any software pixel format.

    Returns:
        uint8 [H,W] in 0–255; for grey formats of more than 8 bits (thermal counts) uint16 [H,W] as stored. It may share
        the frame's memory: copy it to keep it. YUV colour becomes its luma, video range (16–235) stretched to 0–255;
        RGB and palettes become 0.299 R + 0.587 G + 0.114 B; 16-bit RGB with equal channels keeps its 16 bits.
    """
    kind = frame.format
    if kind.name.startswith("gray") and kind.components[0].bits >= 8 and not kind.name.startswith("grayf"):
        # libav treats grey formats as full range, whatever their tag says.
        return _first_plane(frame)
    if kind.is_rgb or kind.has_palette or kind.is_bit_stream or len(kind.components) < 3:
        if kind.components[0].bits == 16:
            wide = frame.to_ndarray(format="rgb48le")
            if (wide[..., 1:] == wide[..., :1]).all():  # counts, written as colour
                return np.ascontiguousarray(wide[..., 0])
        return brightness(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    if not kind.is_planar or kind.name.startswith("p"):
        # Packed (yuyv422) and high-aligned (p010) layouts: let libav unpack them, luma values stay.
        frame = frame.reformat(format="yuv444p")
        kind = frame.format
    bits = kind.components[0].bits
    full = kind.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
    plane = _first_plane(frame)
    return plane if bits == 8 and full else np.asarray(_luma_table(bits, full)[plane])


def brightness(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] → uint8 [H, W]."""
    pixels = colour.astype(np.int32)
    # The weights sum to 2**14, so that grey pixels do not change.
    return ((4899 * pixels[..., 0] + 9617 * pixels[..., 1] + 1868 * pixels[..., 2] + 8192) >> 14).astype(np.uint8)


def to_grey(levels: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Real grey levels → the nearest of 0–255; a half goes up."""
    rounded = np.clip(np.floor(levels + levels.dtype.type(0.5)), 0, 255)
    return np.asarray(rounded, np.uint8)


def _first_plane(frame: av.VideoFrame) -> NDArray[Any]:
    """Plane 0 as uint8 or native uint16 [H,W]; rows in memory may be padded."""
    plane = frame.planes[0]
    wide = frame.format.components[0].bits > 8
    memory = np.frombuffer(memoryview(plane), np.uint8)[: frame.height * plane.line_size]
    rows = memory.reshape(frame.height, -1)[:, : frame.width * (2 if wide else 1)]
    if not wide:
        return rows
    return np.ascontiguousarray(rows).view(">u2" if frame.format.is_big_endian else "<u2").astype(np.uint16, copy=False)


@lru_cache(maxsize=8)
def _luma_table(bits: int, full: bool) -> NDArray[np.uint8]:
    """Grey level of each luma value, uint8 [2**bits]."""
    luma = np.arange(1 << bits)
    black, span = (0, (1 << bits) - 1) if full else (16 << (bits - 8), 219 << (bits - 8))
    return to_grey((luma - black) * (255 / span))

"""TIFF pictures and stacks. What their tags state is honoured: depth, sign, byte order, tiles, planes, min-is-white.

Unsigned pixels of 8 and 16 bits are grey levels and counts; signed 16-bit ones are counts, shifted by 32768 to be
positive; floats are temperatures in °C or K. Where white is the lowest value, pixels are inverted. Colour becomes its
brightness, 16-bit colour only where all channels are equal.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError, missing_package, reason
from infdet_deploy.video.arrays import ThermalArray
from infdet_deploy.video.grey import brightness
from infdet_deploy.video.timing import RawFrame

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

_MIN_IS_WHITE = 0  # photometric interpretation
_TIME_INCREMENT = re.compile(r'TimeIncrement="([0-9.eE+-]+)"')
_TIME_UNIT = re.compile(r'TimeIncrementUnit="(\w+)"')
_UNIT_S = {"s": 1.0, "ms": 1e-3, "min": 60.0}


def read_tiff(path: Path) -> Iterator[RawFrame]:
    """Read a TIFF stack, one page a frame, at the rate that ImageJ or OME metadata state.

    Raises InfdetError if the package tifffile is not installed, VideoError for a file that is no TIFF, is cut short, is
    compressed in a way that needs more packages, or has pixels of another kind than this module's text says.
    """
    with _opened(path, "whole, readable TIFF", "expected a stack of grey pages, uncompressed or deflate") as tiff:
        segments = (zip(page.dataoffsets, page.databytecounts, strict=False) for page in tiff.pages)
        reach = max((start + size for pairs in segments for start, size in pairs), default=0)
        if reach > path.stat().st_size:
            raise ValueError(f"page data reaches to byte {reach}, the file has {path.stat().st_size}")
        rate = _rate(tiff)
        frames = (_pixels(path, page, part) for part in tiff.series for page in _pages(part))
        first = next(frames)
        if first.dtype.kind == "f":
            temperatures = ThermalArray(np.stack([first, *frames]), name=str(path))
            yield from (frame._replace(fps=rate) for frame in temperatures.read())
            return
        yield RawFrame(first, fps=rate)
        for frame in frames:
            yield RawFrame(frame, fps=rate)


def read_tiff_picture(path: Path) -> NDArray[Any] | None:
    """The first page of a TIFF: uint8 or uint16 [H, W], or float32 temperatures.

    None if only libav can decode it: LZW and other compression of plain unsigned pixels. Raises as `read_tiff`.
    """
    with _opened(path, "readable image", "replace or remove it") as tiff:
        page = tiff.pages.first
        packed = page.compression not in (1, 8, 32946)  # none, deflate
        plain = page.dtype in (np.uint8, np.uint16) and page.samplesperpixel == 1 and not page.is_tiled
        if packed and plain:
            return None
        part = tiff.series[0]
        return _pixels(path, page.asarray(), part)


@contextlib.contextmanager
def _opened(path: Path, what: str, remedy: str) -> Iterator["TiffFile"]:
    """The file; everything that goes wrong in the block is one VideoError."""
    try:
        import tifffile
    except ImportError:
        raise missing_package("tifffile", "thermal", f"reading {path}") from None
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            yield tiff
        damage = [text for text in complaints if "invalid" in text or "corrupt" in text]
        if damage:
            raise ValueError(damage[0])
    except VideoError:
        raise
    except Exception as error:  # tifffile raises its own errors, struct's, zlib's and more
        raise VideoError(f"{path}: not a {what} ({reason(error)}); {remedy}") from None


def _pixels(path: Path, page: NDArray[Any], part: "TiffPageSeries") -> NDArray[Any]:
    """One page [H, W], [H, W, S] or [S, H, W] → uint8, uint16 or float32 [H, W]; see the module's text."""
    pixels = page.astype(page.dtype.newbyteorder("="), copy=False)
    if pixels.ndim == 3:
        pixels = _one_channel(path, np.moveaxis(pixels, part.axes[-3:].index("S"), -1))
    if pixels.ndim != 2 or not (pixels.dtype in (np.uint8, np.uint16, np.int16) or pixels.dtype.kind == "f"):
        raise VideoError(
            f"{path}: a TIFF of {page.dtype} {list(part.shape)}; expected uint8, uint16 or int16 grey, or temperatures "
            "as floats: convert it"
        )
    if pixels.dtype.kind == "f":
        return np.asarray(pixels, np.float32)
    if pixels.dtype == np.int16:
        pixels = (pixels.astype(np.int32) + 32768).astype(np.uint16)
    return np.iinfo(pixels.dtype).max - pixels if part.keyframe.photometric == _MIN_IS_WHITE else pixels


def _one_channel(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """[H, W, S] → [H, W]: the only grey channel, or the brightness of a colour."""
    if pixels.shape[-1] < 3 or (pixels[..., 1:3] == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    if pixels.dtype == np.uint8:
        return brightness(pixels[..., :3])
    raise VideoError(f"{path}: a TIFF of {pixels.dtype} colour; expected grey: convert it, colour hides temperatures")


def _pages(part: "TiffPageSeries") -> Iterator[NDArray[Any]]:
    """The frames of a series, one at a time in memory where each is one page."""
    inner = 3 if "S" in part.axes[-3:] else 2
    count = int(np.prod(part.shape[:-inner]))
    if len(part.pages) == count and None not in part.pages:
        yield from (page.asarray() for page in part.pages if page is not None)
    else:
        yield from part.asarray().reshape(-1, *part.shape[-inner:])


def _rate(tiff: "TiffFile") -> float | None:
    """Frames per second, from ImageJ's frame interval or OME's time increment; None if there is neither."""
    interval_s = float((tiff.imagej_metadata or {}).get("finterval") or 0)
    if tiff.is_ome and (found := _TIME_INCREMENT.search(tiff.ome_metadata or "")):
        unit = _TIME_UNIT.search(tiff.ome_metadata or "")
        interval_s = float(found[1]) * _UNIT_S.get(unit[1] if unit else "s", 0)
    return 1 / interval_s if interval_s > 0 else None


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect tifffile's log messages, which alone report a broken chain of pages, and keep them off stderr."""
    messages: list[str] = []
    logger = logging.getLogger("tifffile")

    def collect(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return False

    logger.addFilter(collect)
    try:
        yield messages
    finally:
        logger.removeFilter(collect)

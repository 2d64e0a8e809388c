"""Thermal recordings: 16-bit counts of a radiometric camera, mapped to grey levels with one range for the whole clip.

One range, because a range per frame makes the background flicker whenever something warm enters the picture, and
optical flow reads flicker as motion.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError, missing_package, reason
from infdet_deploy.video.grey import to_grey
from infdet_deploy.video.timing import RawFrame

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
_COUNTS = 1 << 16
CPTV_FPS = 9.0  # of the camera's sensor, for files without a rate and times


def to_8bit(
    frames: NDArray[np.uint16], low: float = LOW_PERCENTILE, high: float = HIGH_PERCENTILE
) -> NDArray[np.uint8]:
    """Map a clip's counts, uint16 [T,H,W], linearly to grey levels, uint8 [T,H,W], with one range for all frames.

    low, high: percentiles (0 to 100) of all the clip's pixels that become 0 and 255; counts beyond them are clipped.
    A clip with a single value is all zeros. Where both percentiles are equal (a small target before a flat background),
    the range is the clip's minimum to its maximum. Raises ValueError: not uint16, or not 0 <= low < high <= 100.
    """
    histogram = np.zeros(_COUNTS, np.int64)
    for frame in frames:
        histogram += count_values(frame)
    return grey_table(histogram, low, high)[frames]


def count_values(frame: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Histogram int64 [65536] of a uint16 array; histograms of a clip's frames add up to the clip's."""
    if frame.dtype != np.uint16:
        raise ValueError(f"thermal counts are {frame.dtype}; expected uint16")
    return np.bincount(frame.ravel(), minlength=_COUNTS)


def grey_table(
    histogram: NDArray[np.int64], low: float = LOW_PERCENTILE, high: float = HIGH_PERCENTILE
) -> NDArray[np.uint8]:
    """Grey level of each count, uint8 [65536], for a clip with this histogram; see `to_8bit`."""
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles are {low} and {high}; expected 0 <= low < high <= 100")
    if np.count_nonzero(histogram) < 2:
        return np.zeros(_COUNTS, np.uint8)
    bottom, top = count_range(histogram, low, high)
    return to_grey((np.arange(_COUNTS) - bottom) * (255 / (top - bottom)))


def count_range(histogram: NDArray[Any], low: float = LOW_PERCENTILE, high: float = HIGH_PERCENTILE) -> tuple[int, int]:
    """The counts at two percentiles of a histogram [65536]; where they are equal, the lowest and highest count."""
    seen = np.cumsum(histogram)
    # Exact for clips of any length; low=0 is the first count that occurs.
    bottom, top = (int(np.searchsorted(seen, max(seen[-1] * p / 100, np.finfo(float).tiny))) for p in (low, high))
    if bottom == top:
        present = np.flatnonzero(histogram)
        bottom, top = int(present[0]), int(present[-1])
    return bottom, top


def read_cptv(path: Path) -> Iterator[RawFrame]:
    """Read a Cacophony Project thermal recording (`.cptv`), without the camera's background frame.

    Raises InfdetError if the package cptv is not installed, VideoError for another file, or one that is cut short.
    """
    try:
        from cptv import CPTVReader
        from cptv import reader as package
    except ImportError:
        raise missing_package("cptv", "thermal", f"reading {path}") from None
    # It prints a remark about damaged time stamps on stdout, where `--json` prints results.
    vars(package)["print"] = lambda *_: None
    with path.open("rb") as file:
        try:
            reader = CPTVReader(file)
        except Exception as error:  # damaged bytes raise errors of many types
            raise VideoError(
                f"{path}: not a readable CPTV recording ({reason(error)}); expected a .cptv file of version 1 or 2"
            ) from None
        expected = reader.num_frames or None
        fps = float(reader.fps) if reader.fps else None
        count = background = 0
        failure = None
        try:
            for frame in reader:
                if frame.background_frame:
                    background += 1
                    continue
                count += 1
                if frame.time_on is None:
                    yield RawFrame(frame.pix, fps=fps or CPTV_FPS)
                else:
                    yield RawFrame(frame.pix, frame.time_on.total_seconds(), fps)
            reader.s.read(1)  # raises where the gzip stream is cut between two frames
        except Exception as error:
            failure = reason(error)
    if failure is None and expected is not None and count + background < expected:
        failure = "the file ends early"
    if failure is not None:
        of = f" of {expected}" if expected else ""
        raise VideoError(
            f"{path}: the recording is cut short or damaged: {count}{of} frames decode ({failure});"
            " copy it again from the camera"
        )

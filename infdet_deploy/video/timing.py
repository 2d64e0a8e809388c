"""When each frame was recorded: frame rate and timestamps from what a file says."""

from array import array
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DEFAULT_FPS = 25.0  # for recordings without any rate: image folders, TIFF stacks
_HIGHEST_FPS = 999.0  # higher rates are time bases that a container mistook for frame rates (Matroska 1000, MPEG 90000)
_RATE_TOLERANCE = 0.05  # a declared rate that differs more from the timestamps' is wrong (variable frame rate)


class RawFrame(NamedTuple):
    """A frame as a recording stores it.

    Attributes:
        pixels: uint8 [H,W], or uint16 for grey of more than 8 bits; valid only until the next frame is read.
        time_s: seconds on the file's own clock; NaN if unknown.
        fps: the file's declared rate in frames per second; None if it declares none.
        note: what the user should know about the recording; empty for most frames.
    """

    pixels: NDArray[Any]
    time_s: float = nan
    fps: float | None = None
    note: str = ""


def resolve(
    declared: float | None, times_s: NDArray[np.float64], fps: float | None = None
) -> tuple[float, NDArray[np.float64]]:
    """Frame rate and timestamps of a clip.

    Args:
        declared: the file's rate in frames per second.
        times_s: float64 [T], T ≥ 1, seconds on the file's own clock; NaN where unknown.
        fps: the caller's rate, which replaces the file's rate and timestamps.

    Returns:
        The rate in frames per second and float64 [T], seconds since the first frame. The rate is the first known of:
        `fps`, the declared rate if the timestamps agree with it, the timestamps' mean rate, `DEFAULT_FPS`. Timestamps
        that are missing or do not increase become `index / rate`.
    """
    usable = fps is None and np.isfinite(times_s).all() and np.all(np.diff(times_s) > 0)
    measured = (len(times_s) - 1) / float(times_s[-1] - times_s[0]) if usable and len(times_s) > 1 else None
    if declared is not None and not 0 < declared <= _HIGHEST_FPS:
        declared = None
    if declared is not None and measured is not None and abs(declared - measured) > _RATE_TOLERANCE * measured:
        declared = None
    rate = fps or declared or measured or DEFAULT_FPS
    return rate, times_s - times_s[0] if usable else np.arange(len(times_s)) / rate


class FrameTimes:
    """Collects the times of a recording's frames while they are read.

    fps: the caller's rate, which replaces the file's.
    """

    def __init__(self, fps: float | None = None) -> None:
        self._fps = fps
        self._declared: float | None = None
        self._stated, self._shown = array("d"), array("d")  # 16 bytes a frame: recordings may last for days

    def add(self, raw: RawFrame) -> float:
        """The time of the next frame in seconds from the first, known before the recording's end.

        A frame without a time, or not later than the one before, is shown 1/rate after it.
        """
        self._declared = raw.fps
        self._stated.append(raw.time_s)
        if len(self._stated) == 1:
            time_s = 0.0
        elif self._fps is not None:
            time_s = len(self._shown) / self._fps
        else:
            time_s = raw.time_s - self._stated[0]
            if not (isfinite(time_s) and time_s > self._shown[-1]):
                declared = raw.fps if raw.fps is not None and 0 < raw.fps <= _HIGHEST_FPS else DEFAULT_FPS
                time_s = self._shown[-1] + 1 / declared
        self._shown.append(time_s)
        return time_s

    def shown(self) -> "array[float]":
        """The results of `add` so far."""
        return self._shown

    def resolve(self) -> tuple[float, NDArray[np.float64]]:
        """Frame rate and timestamps, at the recording's end; see `resolve`."""
        return resolve(self._declared, np.array(self._stated), self._fps)

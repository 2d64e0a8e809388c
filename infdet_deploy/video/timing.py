"""When each frame was recorded: what a file declares, and the frame rate and timestamps derived from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_FPS = 25.0  # for recordings without any rate: image folders, TIFF stacks
_HIGHEST_FPS = 999.0  # higher rates are time bases that a container mistook for frame rates (Matroska 1000, MPEG 90000)
_RATE_TOLERANCE = 0.05  # a declared rate that differs more from the timestamps' is wrong (variable frame rate)


@dataclass(frozen=True)
class Timing:
    """What a file says about time; None where it says nothing.

    Attributes:
        fps: declared frame rate in frames per second.
        timestamps_s: float64 [T], seconds on the file's own clock.
    """

    fps: float | None = None
    timestamps_s: NDArray[np.float64] | None = None


def resolve(timing: Timing, frame_count: int, fps: float | None = None) -> tuple[float, NDArray[np.float64]]:
    """Frame rate and timestamps of a clip.

    Args:
        timing: what the file says.
        frame_count: number of frames, at least 1.
        fps: the caller's rate, which replaces the file's rate and timestamps.

    Returns:
        The rate in frames per second and float64 [frame_count], seconds since the first frame. The rate is the first
        known of: `fps`, the declared rate if the timestamps agree with it, the timestamps' mean rate, `DEFAULT_FPS`.
        Timestamps that are missing or do not increase become `index / rate`.
    """
    times = timing.timestamps_s if fps is None else None
    if times is not None and (len(times) != frame_count or not np.all(np.diff(times) > 0)):
        times = None
    measured = (frame_count - 1) / float(times[-1] - times[0]) if times is not None and frame_count > 1 else None
    rate = fps or _trusted(timing.fps, measured) or measured or DEFAULT_FPS
    if times is None:
        return rate, np.arange(frame_count) / rate
    return rate, times - times[0]


def _trusted(declared: float | None, measured: float | None) -> float | None:
    if declared is None or not 0 < declared <= _HIGHEST_FPS:
        return None
    if measured is not None and abs(declared - measured) > _RATE_TOLERANCE * measured:
        return None
    return declared

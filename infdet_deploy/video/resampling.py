"""Frames at a constant rate from frames at any times, by linear interpolation.

A network sees motion in frames, so a recording at another rate than its training clips', or at an uneven one, looks
faster or slower to it. Interpolation also gives slow sensors shorter snippets: 8 frames at 9 frames/s are 0.9 s.
"""

import numpy as np
from numpy.typing import NDArray

_SLACK_S = 1e-6  # times that differ by less are equal: sums of 1/rate are not exact
_PARTS = 256  # weights are multiples of 1/256, so that all arithmetic is exact in integers


class Resampler:
    """Frames in, frames at times start + n/rate out, up to the last frame's time."""

    def __init__(self, rate: float) -> None:
        """rate: frames per second."""
        self._rate = rate
        self._count = 0  # frames returned
        self._before: NDArray[np.uint8] | None = None
        self._start_s = self._before_s = 0.0

    def push(self, frame: NDArray[np.uint8], time_s: float) -> list[tuple[NDArray[np.uint8], float]]:
        """Add a frame; return the frames that lie after the previous one, with their times.

        frame: uint8 [H, W]. time_s: in seconds, on any clock; a frame that is not later than the last is left out.
        """
        if self._before is None:
            self._before, self._start_s, self._before_s, self._count = frame, time_s, time_s, 1
            return [(frame, time_s)]
        step_s, found = time_s - self._before_s, []
        if step_s <= 0:
            return []
        while (at_s := self._start_s + self._count / self._rate) <= time_s + _SLACK_S:
            weight = min(int((at_s - self._before_s) / step_s * _PARTS + 0.5), _PARTS)
            found.append((_between(self._before, frame, weight), at_s))
            self._count += 1
        self._before, self._before_s = frame, time_s
        return found


def _between(before: NDArray[np.uint8], after: NDArray[np.uint8], weight: int) -> NDArray[np.uint8]:
    """before + (after − before) · weight/256, rounded half up."""
    mixed = before.astype(np.uint16) * np.uint16(_PARTS - weight)
    mixed += after.astype(np.uint16) * np.uint16(weight)
    mixed += np.uint16(_PARTS // 2)
    return (mixed >> 8).astype(np.uint8)

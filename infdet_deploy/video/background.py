"""Grey levels relative to each pixel's background, on a fixed scale: makes a contrast of 1 K visible.

A body in a thermal array may be 1 K warmer than its background, while the background itself varies by 10 K. Mapping the
recording's whole range to 0–255 leaves such a body a few levels. Here one kelvin is always 50 levels:

1. The background of a pixel is the lower quartile of its last 120 s, of one frame a second: people are warmer than
   their surroundings, and one who lies or sits still for less than 90 s does not become background.
2. What all pixels have in common (the sensor's drift) is subtracted: the median over the frame of the differences.
3. A pixel at its background gets the level 64; colder and warmer ones lie 50 levels a kelvin apart from it, clipped to
   0–255.

Quartiles and medians are values that occur, the lower of two, so all arithmetic is exact in integers.
"""

from collections import deque
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Levels = Literal["range", "background"]

BACKGROUND_LEVEL = 64  # of a pixel at its background's temperature
WINDOW_S = 120  # the background is a quartile of this many seconds


class BackgroundLevels:
    """Frames in, grey levels out, of one recording or camera.

    causal: use past frames only, as a camera must. Otherwise frames of the first 120 s are held until these are over,
    and have the background of all of them; later frames have the same levels either way.
    """

    def __init__(self, causal: bool) -> None:
        self._held: list[tuple[NDArray[Any], float]] | None = None if causal else []
        self._samples: deque[NDArray[Any]] = deque(maxlen=WINDOW_S)
        self._background: NDArray[np.int32] | None = None
        self._start_s = self._due_s = self._before_s = 0.0

    def push(self, frame: NDArray[Any], time_s: float) -> list[tuple[NDArray[np.uint8], float]]:
        """Add a frame; return the frames that are ready, with their times.

        frame: [H, W], uint16 in hundredths of a kelvin, or uint8 with 50 levels a kelvin. time_s: on any clock, in
        seconds, not decreasing. Returns uint8 [H, W] each.
        """
        ready: list[tuple[NDArray[np.uint8], float]] = []
        if not self._samples or time_s < self._before_s:  # the start, or a clock that was set back
            self._start_s = self._due_s = time_s
        self._before_s = time_s
        if self._held is not None and time_s >= self._start_s + WINDOW_S:
            ready = self.finish()
        if time_s >= self._due_s:
            self._samples.append(frame.copy())
            self._background = None
            self._due_s = self._start_s + np.floor(time_s - self._start_s) + 1
        if self._held is not None:
            self._held.append((frame, time_s))
        else:
            ready.append((self._levels(frame), time_s))
        return ready

    def finish(self) -> list[tuple[NDArray[np.uint8], float]]:
        """The frames that are still held, at the end of a recording."""
        held, self._held = self._held or [], None
        return [(self._levels(frame), time_s) for frame, time_s in held]

    def _levels(self, frame: NDArray[Any]) -> NDArray[np.uint8]:
        if self._background is None:
            self._background = lower_quantile(np.stack(self._samples), 4).astype(np.int32)
        change = frame.astype(np.int32) - self._background
        change -= lower_quantile(change.reshape(-1), 2)
        if frame.dtype == np.uint16:
            change >>= 1
        levels: NDArray[np.uint8] = np.clip(change + BACKGROUND_LEVEL, 0, 255).astype(np.uint8)
        return levels


def lower_quantile(values: NDArray[Any], parts: int) -> Any:
    """The first of the quantiles that divide the values [n, …] in `parts`: for 2 the median, for 4 the lower quartile.

    It is the value of rank ⌊(n − 1) / parts⌋ from 0.
    """
    rank = (len(values) - 1) // parts
    return np.partition(values, rank, axis=0)[rank]

"""What belongs to the scene in a recording of thermal counts: frames without shutter events, rows without telemetry.

A camera closes its shutter to calibrate itself, loses a frame, or switches its gain; some write telemetry into rows at
the picture's border. None of that may set the range of grey levels or reach the network as motion:

1. A frame is disturbed where its middle half of values (the quartiles' distance) shrinks to a quarter of the calmest
   frame's, as behind a shutter, or where its median jumps by four times that distance. Disturbed frames are replaced by
   the last one of the scene.
2. If that lasts longer than `LONGEST_S`, it is the scene. After a jump of the median, such as a change of gain, a new
   stretch begins, which has a range of its own.
3. Up to `EDGE_ROWS` rows at the top and bottom are telemetry where most of their values lie further from the values of
   the inner rows than these spread. The nearest row of the scene replaces them.

Quartiles are values that occur, of every n-th pixel, so all arithmetic is exact in integers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_S = 2.0  # of a disturbance
EDGE_ROWS = 8
_SHRINKS, _JUMPS = 4, 4
_LEAST_SPREAD = 8  # counts; a scene without texture has none
_SAMPLES = 4096  # pixels for the quartiles

Counts = NDArray[np.uint16]


@dataclass(frozen=True)
class SceneFrame:
    """pixels: uint16 [H, W]. stretch: its number from 0. held: a copy of the frame before. context: of `push`."""

    pixels: Counts
    stretch: int
    held: bool
    context: Any


class Scene:
    """Frames of a recording in, frames of the scene out, in order.

    ahead: wait for up to `LONGEST_S` after a disturbance, to see whether it passes. A camera cannot wait: there, frames
    are replaced until `LONGEST_S` have passed.

    Attributes:
        held, telemetry: replaced frames, and rows, so far.
    """

    def __init__(self, ahead: bool) -> None:
        self._ahead = ahead
        self.held = self.telemetry = 0
        self._rows: NDArray[np.intp] | None = None  # of the picture, telemetry replaced by the nearest row
        self._last: Counts | None = None
        self._median = self._calm = self._stretch = 0
        self._since_s: float | None = None  # the disturbance began
        self._waited_s = 0.0  # since then
        self._jumped = False
        self._waiting: list[tuple[Counts, Any]] = []

    def push(self, pixels: Counts, time_s: float, context: Any = None) -> Iterator[SceneFrame]:
        """Add a frame, uint16 [H, W], shown at `time_s` seconds; yields those that are ready."""
        if self._rows is None or len(self._rows) != len(pixels):
            self._rows = scene_rows(pixels)
            self.telemetry = int((self._rows != np.arange(len(pixels))).sum())
        pixels = pixels[self._rows] if self.telemetry else pixels
        low, median, high = quartiles(pixels)
        spread = high - low
        jumped = abs(median - self._median) > _JUMPS * max(self._calm, spread, _LEAST_SPREAD)
        disturbed = self._last is not None and (jumped or spread * _SHRINKS < self._calm)
        if not disturbed:
            yield from self._replaced()
            self._calm = spread if self._last is None else min(self._calm, spread)
            self._since_s = None
        else:
            self._jumped |= jumped
            self._since_s = time_s if self._since_s is None else self._since_s
            self._waited_s = time_s - self._since_s
            if self._waited_s <= LONGEST_S:
                if self._ahead:
                    self._waiting.append((pixels.copy(), context))
                else:
                    self.held += 1
                    assert self._last is not None
                    yield SceneFrame(self._last, self._stretch, True, context)
                return
            self._calm, self._since_s = spread, None
            yield from self._accepted()
        self._jumped = False
        self._median, self._last = median, pixels.copy()
        yield SceneFrame(pixels, self._stretch, False, context)

    def finish(self) -> Iterator[SceneFrame]:
        """The frames that still wait, at the recording's end; after a long jump of the median they are a stretch."""
        if self._jumped and self._waited_s > LONGEST_S / 2:
            yield from self._accepted()
        yield from self._replaced()

    def _accepted(self) -> Iterator[SceneFrame]:
        """The waiting frames, which are the scene after all; in a new stretch if the median has jumped."""
        self._stretch += self._jumped
        waiting, self._waiting = self._waiting, []
        yield from (SceneFrame(frame, self._stretch, False, given) for frame, given in waiting)

    def _replaced(self) -> Iterator[SceneFrame]:
        """The waiting frames, replaced by the last one of the scene."""
        waiting, self._waiting = self._waiting, []
        self.held += len(waiting)
        for _, given in waiting:
            assert self._last is not None
            yield SceneFrame(self._last, self._stretch, True, given)

    def notes(self) -> list[str]:
        """What the user should know."""
        found = []
        if self.held:
            found.append(f"shutter or blank frames, replaced by the frame before: {self.held}")
        if self._stretch:
            found.append(f"the level of the counts jumps: {self._stretch + 1} stretches, each with its own range")
        if self.telemetry:
            found.append(f"rows of telemetry, replaced by the nearest row: {self.telemetry}")
        return found


def quartiles(pixels: Counts) -> tuple[int, int, int]:
    """Lower quartile, median and upper quartile of a frame's values."""
    values = np.sort(pixels.reshape(-1)[:: max(1, pixels.size // _SAMPLES)])
    low, middle, high = (int(values[(len(values) - 1) * part // 4]) for part in (1, 2, 3))
    return low, middle, high


def scene_rows(pixels: Counts) -> NDArray[np.intp]:
    """For each row of a frame the row that is shown there: itself, or the scene's nearest for telemetry."""
    count = len(pixels)
    rows = np.arange(count)
    if count <= 4 * EDGE_ROWS:
        return rows
    inner = np.sort(pixels[EDGE_ROWS:-EDGE_ROWS].reshape(-1)[:: max(1, pixels.size // _SAMPLES)]).astype(np.int64)
    low, high = inner[(len(inner) - 1) // 100], inner[-1 - (len(inner) - 1) // 100]
    reach = max(int(high - low), _LEAST_SPREAD)
    outside = ((pixels < low - reach) | (pixels > high + reach)).mean(axis=1) > 0.5
    top = next((row for row in range(EDGE_ROWS, 0, -1) if outside[row - 1]), 0)
    bottom = next((row for row in range(EDGE_ROWS, 0, -1) if outside[-row]), 0)
    return np.clip(rows, top, count - 1 - bottom)

"""When a frame was shown, on the wall clock, from its place in the stream; and waiting for that moment."""

import time
from collections.abc import Callable

# A stream whose own time departs from the wall clock by more than this has set its clock anew.
_JUMP_S = 10.0

# A camera's clock runs fast by this share at most; by so much the shortest delay seen may grow again.
_DRIFT = 1e-3

# Playing falls behind by more than this when the stream has stalled: it goes on from now.
_LATE_S = 2.0

# While it waits for a frame's time, a child says that it lives every so many seconds.
_ALIVE_S = 1.0


class Arrival:
    """Frames that tell no time were shown when they came."""

    def shown(self, position_s: float | None) -> float:
        """Unix seconds at which the frame at this place of the stream was shown."""
        return time.time()


class Steady:
    """A camera's stream, smoothed: each frame is as old as its own time says, counted from the quickest delivery seen.

    The network delivers in bursts; after a stall of a second, 25 frames come at once, but they were shown in turn.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._position_s = 0.0
        self._last = 0.0

    def shown(self, position_s: float | None) -> float:
        """As in `Arrival`."""
        now = time.time()
        if position_s is None:
            return now
        offset = now - position_s
        if self._offset is None or abs(offset - self._offset) > _JUMP_S:
            self._offset = offset
            self._last = 0.0
        else:
            grown = self._offset + _DRIFT * max(position_s - self._position_s, 0.0)
            self._offset = min(offset, grown)
        self._position_s = position_s
        self._last = max(position_s + self._offset, self._last + 1e-6)
        return self._last


class Playing:
    """A recording, or a stream that comes in pieces of some seconds (HLS): each frame is shown at its time.

    wait: False shows frames at once, with the time they would have had. catch_up: what has stalled goes on from now,
    where otherwise it would be played quicker until it is in time.
    """

    def __init__(self, alive: Callable[[], None], wait: bool, catch_up: bool) -> None:
        self._alive = alive
        self._wait = wait
        self._catch_up = catch_up
        self._offset: float | None = None
        self._last = 0.0

    def shown(self, position_s: float | None) -> float:
        """As in `Arrival`; returns at that time."""
        now = time.time()
        if position_s is None:
            position_s = self._last - (self._offset or 0.0)
        if self._offset is None:
            self._offset = now - position_s
        late_s = now - position_s - self._offset
        if self._catch_up and (late_s > _LATE_S or late_s < -_JUMP_S):
            self._offset = now - position_s
        due = position_s + self._offset
        while self._wait and (left := due - time.time()) > 0:
            time.sleep(min(left, _ALIVE_S))
            if left > _ALIVE_S:
                self._alive()
        self._last = due
        return due

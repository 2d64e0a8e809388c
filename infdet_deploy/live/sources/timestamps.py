"""When a frame was shown, in wall-clock time, from its position in the stream; files wait for that time."""

import time
from collections.abc import Callable

_JUMP_S = 10.0  # a stream whose time departs further than this from the wall clock has set its clock
_DRIFT = 1e-3  # a camera's clock runs fast by at most this share; the shortest delay seen may grow by as much
_LATE_S = 2.0  # playback that is later than this has stalled and continues from now
_ALIVE_S = 1.0  # interval at which a decoder that waits for a frame's time reports that it is alive


class SmoothedTime:
    """For cameras: a frame's age follows from its own timestamp, counted from the fastest delivery seen.

    The network delivers in bursts: after a stall of a second, 25 frames arrive at once, but they were shown in turn.
    Frames without timestamps are shown when they arrive.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._position_s = self._last = 0.0

    def shown(self, position_s: float | None) -> float:
        """When the frame at this position of the stream was shown, Unix seconds."""
        now = time.time()
        if position_s is None:
            return now
        offset = now - position_s
        if self._offset is None or abs(offset - self._offset) > _JUMP_S:
            self._offset, self._last = offset, 0.0
        else:
            self._offset = min(offset, self._offset + _DRIFT * max(position_s - self._position_s, 0.0))
        self._position_s = position_s
        self._last = max(position_s + self._offset, self._last + 1e-6)
        return self._last


class PlaybackTime:
    """For recordings, and streams that arrive in segments of some seconds (HLS): each frame is shown at its time.

    alive: called every second during a wait. wait: False shows frames at once, with the time they would have had.
    catch_up: after a stall, continue from now; otherwise play faster until in time again.
    """

    def __init__(self, alive: Callable[[], None], wait: bool, catch_up: bool) -> None:
        self._alive, self._wait, self._catch_up = alive, wait, catch_up
        self._offset: float | None = None
        self._last = 0.0

    def shown(self, position_s: float | None) -> float:
        """As in `SmoothedTime`; returns at that time."""
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

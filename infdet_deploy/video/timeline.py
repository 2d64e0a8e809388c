"""The time at which each frame of a recording is shown, and where the recording pauses.

The rules, in this order:

1. Rate: the caller's; else the declared one if the time stamps agree with it within 5 %; else that of the stamps; else
   25. Rates below 0.1 or above 240 frames/s are not believed. Pauses do not count.
2. A frame without a stamp, or whose stamp is not later than those before it, is placed evenly between its neighbours;
   later frames do not move.
3. Stamps that go back and stay back are a clock that was set: the recording goes on one interval later, in a new part.
4. More than 1 s and more than three intervals without a frame are a pause: a new part begins after it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.video.timing import counted

DEFAULT_FPS = 25.0  # for recordings without any rate: image folders, TIFF stacks
LOWEST_FPS, HIGHEST_FPS = 0.1, 240.0  # other rates are header errors, or time bases (Matroska 1000, MPEG 90000)
PAUSE_S, PAUSE_INTERVALS = 1.0, 3  # a longer gap than both is a pause
RATE_TOLERANCE = 0.05  # a declared rate that differs more from the stamps' is wrong
_STEADY, _STEADY_SHARE = 0.25, 0.9  # a clock is steady if this share of gaps is this near to multiples of the interval
_SEARCHED_FRAMES = 2000  # a frame's stamp is looked for this far ahead

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """The times of a recording's frames.

    Attributes:
        fps: frames per second between pauses.
        times_s: float64 [T], seconds on the recording's time line, increasing.
        part: int [T], the number of the part that each frame belongs to, from 0.
        notes: what the user should know, such as a rate that is not believed.
    """

    fps: float
    times_s: Seconds
    part: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    @property
    def pause_s(self) -> float:
        """A longer gap between two frames is a pause."""
        return pause_limit_s(self.fps)


@dataclass(frozen=True)
class Part:
    """A stretch of frames without a pause. Within it, frame n is at n/fps local seconds.

    Attributes:
        fps: frames per second.
        times_s: float64 [n], n ≥ 1, seconds on the recording's time line, increasing.
    """

    fps: float
    times_s: Seconds

    @property
    def even(self) -> bool:
        """Whether all frames lie within half an interval of a straight line at `fps`."""
        return is_even(self.times_s, self.fps, 0.5)

    @property
    def end_s(self) -> float:
        """The end of the last frame on the recording's time line, in seconds."""
        nominal_s, end_s = self.shown_s(len(self.times_s) / self.fps), float(self.times_s[-1]) + 1 / self.fps
        return end_s if abs(end_s - nominal_s) > 0.5 / self.fps else nominal_s

    def shown_s(self, local_s: float) -> float:
        """Seconds on the recording's time line of a local time; linear between frames."""
        start_s = float(self.times_s[0])
        if self.even:
            return start_s + local_s
        numbers = np.arange(len(self.times_s)) / self.fps
        inside_s = min(max(local_s, 0.0), float(numbers[-1]))
        return float(np.interp(inside_s, numbers, self.times_s)) + local_s - inside_s

    def local_s(self, shown_s: float) -> float:
        """The inverse of `shown_s`."""
        if self.even:
            return shown_s - float(self.times_s[0])
        inside_s = min(max(shown_s, float(self.times_s[0])), float(self.times_s[-1]))
        return float(np.interp(inside_s, self.times_s, np.arange(len(self.times_s)) / self.fps)) + shown_s - inside_s


def is_even(times_s: Seconds, fps: float, intervals: float = 1.0) -> bool:
    """Whether frames at these times lie within so many intervals of a straight line at `fps`."""
    away = (times_s - times_s[0]) * fps - np.arange(len(times_s))
    return bool(np.abs(away).max() <= intervals + 1e-6)


def pause_limit_s(fps: float) -> float:
    """The longest gap between two frames that is no pause, in seconds."""
    return max(PAUSE_S, PAUSE_INTERVALS / fps)


def resolve(stated_s: Seconds, declared: float | None = None, fps: float | None = None) -> Timeline:
    """The time line of a recording; the rules are in the module's text.

    Args:
        stated_s: float64 [T], T ≥ 1, the frames' stamps in seconds, in the order in which they are shown; NaN where
            unknown.
        declared: the recording's rate in frames per second.
        fps: the caller's rate, which replaces rate and stamps.
    """
    count, whole = len(stated_s), np.zeros(len(stated_s), np.int64)
    if fps is not None:
        return Timeline(fps, np.arange(count) / fps, whole)
    rate, notes = _rate(stated_s, declared)
    measured = _measured(stated_s)
    if measured is None or not LOWEST_FPS <= measured <= HIGHEST_FPS:
        return Timeline(rate, np.arange(count) / rate, whole, tuple(notes))
    times_s, jumps = _increasing(stated_s, rate)
    starts = jumps | (np.diff(times_s, prepend=times_s[0]) > pause_limit_s(rate))
    if jumps.any():
        notes.append(
            f"the clock goes back {counted(int(jumps.sum()), 'time')}: the recording goes on one frame later, as a part"
            " of its own"
        )
    repaired = 0 if jumps.any() else int((~_latest(stated_s)).sum())
    if repaired:
        notes.append(f"{repaired} of {count} time stamps are missing or not later than the one before")
    return Timeline(rate, times_s, np.cumsum(starts), tuple(notes))


def _rate(stated_s: Seconds, declared: float | None) -> tuple[float, list[str]]:
    """Frames per second, and a note where the recording's is missing or not believed."""
    measured, asked = _measured(stated_s), "give the right one with --fps"
    usable = measured is not None and LOWEST_FPS <= measured <= HIGHEST_FPS
    believed = declared is not None and LOWEST_FPS <= declared <= HIGHEST_FPS
    if believed and declared is not None:
        if measured is None or abs(declared - measured) <= RATE_TOLERANCE * measured:
            return declared, []
        if not usable:
            return declared, [f"the time stamps give {measured:g} frames/s, which cannot be; {declared:g} is used"]
    if usable and measured is not None:
        return measured, []
    wrong = declared or measured
    if wrong is None:
        return DEFAULT_FPS, [f"no frame rate is known: {DEFAULT_FPS:g} frames/s is assumed; {asked}"]
    return DEFAULT_FPS, [f"{wrong:g} frames/s cannot be right: {DEFAULT_FPS:g} frames/s is assumed; {asked}"]


def _measured(stated_s: Seconds) -> float | None:
    """Frames per second between pauses; None without two different stamps.

    Where gaps are multiples of the usual interval, frames are missing: a gap of k intervals counts as k.
    """
    steps = np.diff(stated_s)
    forward = steps[np.isfinite(steps) & (steps > 0)]
    if not len(forward):
        return None
    usual = float(np.median(forward))
    within = steps[np.isfinite(steps) & (np.abs(steps) <= pause_limit_s(1 / usual))]
    counted_steps, length_s = np.round(within / usual), float(within.sum())
    steady = (np.abs(within / usual - counted_steps) < _STEADY).mean() > _STEADY_SHARE
    intervals = float(counted_steps.sum()) if steady else len(within)
    return round(intervals / length_s, 9) if intervals > 0 and length_s > 0 else 1 / usual


def _latest(stated_s: Seconds) -> NDArray[np.bool_]:
    """Whether each stamp is later than all before it; False for NaN."""
    highest = np.fmax.accumulate(np.concatenate(([-np.inf], stated_s[:-1])))
    return np.asarray(stated_s > highest)


def _increasing(stated_s: Seconds, rate: float) -> tuple[Seconds, NDArray[np.bool_]]:
    """Increasing times, and whether the clock was set back before each frame."""
    times_s, jumps, start, offset_s = np.empty(len(stated_s)), np.zeros(len(stated_s), bool), 0, 0.0
    for stop in [*_set_back(stated_s, pause_limit_s(rate)), len(stated_s)]:
        piece = stated_s[start:stop]
        known = np.flatnonzero(_latest(piece))
        if start:
            jumps[start] = True
            first_s = float(piece[known[0]]) - known[0] / rate if len(known) else 0.0
            offset_s = times_s[start - 1] + 1 / rate - first_s
        times_s[start:stop] = _filled(piece, known, rate) + offset_s
        start = stop
    return times_s, jumps


def _set_back(stated_s: Seconds, limit_s: float) -> list[int]:
    """The frames before which the clock was set back: by more than `limit_s`, or so that it stays back as long."""
    found: list[int] = []
    behind = ~_latest(stated_s) & np.isfinite(stated_s)
    for index in np.flatnonzero(behind).tolist():
        begin = found[-1] if found else 0
        before = stated_s[begin:index]
        highest_s = np.nanmax(before) if np.isfinite(before).any() else -np.inf
        if stated_s[index] > highest_s:  # behind an earlier part only
            continue
        later = np.flatnonzero(stated_s[index:] > highest_s)
        stay = stated_s[index : index + int(later[0]) if len(later) else None]
        if highest_s - stated_s[index] > limit_s or np.nanmax(stay) - np.nanmin(stay) > limit_s:
            found.append(index)
    return found


def _filled(stated_s: Seconds, known: NDArray[np.int64], rate: float) -> Seconds:
    """The stamps at `known`, with the other frames evenly between them, and 1/rate apart before and after."""
    numbers = np.arange(len(stated_s))
    if not len(known):
        return numbers / rate
    times_s = np.interp(numbers, known, stated_s[known])
    first, last = known[0], known[-1]
    times_s[:first] = stated_s[first] + (numbers[:first] - first) / rate
    times_s[last + 1 :] = stated_s[last] + (numbers[last + 1 :] - last) / rate
    return times_s


class FrameClock:
    """Finds the frames that decode on a time line that was made from all stamps: some may be missing."""

    def __init__(self, timeline: Timeline, stated_s: Seconds) -> None:
        """stated_s: float64 [T], as for `resolve`."""
        self._timeline, self._stated_s, self._next = timeline, stated_s, 0
        self._shown_s, self._part, self._new = -np.inf, -1, 0

    def at(self, time_s: float) -> tuple[float, int]:
        """The time of the next frame, whose stamp is `time_s` (NaN if unknown), and the number of its part."""
        index, line = self._find(time_s), self._timeline
        last = min(index, len(line.times_s) - 1)
        shown_s, part = float(line.times_s[last]) + (index - last) / line.fps, int(line.part[last])
        # Frames that do not decode leave gaps that the stamps do not have.
        if part == self._part and shown_s - self._shown_s > line.pause_s:
            self._new += 1
        self._next, self._shown_s, self._part = index + 1, shown_s, part
        return shown_s, part + self._new

    def _find(self, time_s: float) -> int:
        index = self._next
        if index < len(self._stated_s) and self._stated_s[index] == time_s:
            return index
        found = np.flatnonzero(self._stated_s[index : index + _SEARCHED_FRAMES] == time_s)
        return index + int(found[0]) if len(found) else index

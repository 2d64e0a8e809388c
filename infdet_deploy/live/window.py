"""From the features of a stretch of frames to actions: online with a sliding window, or offline at its end.

A stretch is a run of frames without a gap. Both share one interface: `push` features as they arrive, then `finish`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.detections import Detection, DetectionRule, detect
from infdet_deploy.errors import UsageError
from infdet_deploy.live.decisions import SETTLE_SNIPPETS, ClosedRun, Decisions
from infdet_deploy.live.options import WatchOptions
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length

Array = NDArray[np.float32]
Features = Mapping[str, Array]
# (features, float32 [k, d] each; number of the first snippet; snippets of the whole clip) → scores, float32 [k, C]
Head = Callable[[Features, int, int], Array]


@dataclass(frozen=True)
class Action:
    """A finished action. detection: in seconds from the first frame of the stretch; start, end: Unix seconds."""

    detection: Detection
    start: float
    end: float


class Timeline:
    """The wall-clock time of snippets in one stretch; of each, the first frame's time is kept until `forget`.

    frames: number of frames. first_time, last_time: of the first and the last frame, Unix seconds.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.first_time = self.last_time = 0.0
        self._starts: dict[int, float] = {}  # snippet → time of its first frame

    def add(self, times: Iterable[float]) -> None:
        """Add the times of the next frames, Unix seconds."""
        for time in times:
            if self.frames % FRAMES_PER_SNIPPET == 0:
                self._starts[self.frames // FRAMES_PER_SNIPPET] = time
            if self.frames == 0:
                self.first_time = time
            self.last_time = time
            self.frames += 1

    @property
    def fps(self) -> float | None:
        """Mean frames per second; None before there are two frames at different times."""
        duration_s = self.last_time - self.first_time
        return (self.frames - 1) / duration_s if self.frames > 1 and duration_s > 0 else None

    def at(self, snippet: float, fps: float) -> float:
        """Start of a snippet, Unix seconds: interpolated, or extrapolated at `fps` after the last frame."""
        whole = floor(snippet)
        before, after = self._starts.get(whole), self._starts.get(whole + 1)
        if before is None:
            return self.last_time + (snippet * FRAMES_PER_SNIPPET - self.frames + 1) / fps
        length_s = FRAMES_PER_SNIPPET / fps if after is None else after - before
        return before + (snippet - whole) * length_s

    def forget(self, before: int, keep: Iterable[int] = ()) -> None:
        """Drop the times of snippets before `before`, except those in `keep`."""
        kept = set(keep)
        for snippet in [s for s in self._starts if s < before and s not in kept]:
            del self._starts[snippet]


class FeatureBuffer:
    """Features of the consecutive snippets [first, end)."""

    def __init__(self) -> None:
        self.first = self.end = 0
        self._parts: dict[str, list[Array]] = {}

    def add(self, features: Features) -> None:
        for name, part in features.items():
            self._parts.setdefault(name, []).append(part)
        self.end += len(next(iter(features.values()), ()))

    def drop_before(self, first: int) -> None:
        """Drop features of snippets before `first`."""
        if first > self.first:
            self._parts = {name: [rows[first - self.first :]] for name, rows in self.features().items()}
            self.first = first

    def features(self) -> dict[str, Array]:
        self._parts = {name: [np.concatenate(parts)] for name, parts in self._parts.items()}
        return {name: rows for name, (rows,) in self._parts.items()}


class Stretch(ABC):
    """One stretch of frames: features in, actions out, each once.

    suppressed: number of runs that repeated an earlier action.
    """

    suppressed = 0

    def __init__(self, head: Head, classes: tuple[str, ...]) -> None:
        self._head, self._classes = head, classes
        self._timeline, self._buffer = Timeline(), FeatureBuffer()

    def push(self, features: Features, times: Iterable[float], fps: float | None = None) -> list[Action]:
        """Add features and frames; return the actions that have closed.

        features: float32 [k, d] each, k ≥ 0. times: of the frames since the last call, Unix seconds. fps: frame rate of
        the source; None: measured from the times.
        """
        self._timeline.add(times)
        self._buffer.add(features)
        fps = fps or self._timeline.fps
        return [] if fps is None else self._update(fps)

    def finish(self, features: Features, fps: float | None = None) -> list[Action]:
        """Add the last features of the stretch; every run closes."""
        self._buffer.add(features)
        fps = fps or self._timeline.fps
        return [] if fps is None or self._buffer.end == self._buffer.first else self._finish(fps)

    def _scores(self, snippets: int) -> Array:
        """The head over the buffer, as the end of a clip of this many snippets."""
        return self._head(self._buffer.features(), self._buffer.first, snippets - self._buffer.first)

    @abstractmethod
    def _update(self, fps: float) -> list[Action]: ...

    @abstractmethod
    def _finish(self, fps: float) -> list[Action]: ...


class SlidingWindow(Stretch):
    """Online: every `every` snippets the head runs over the last `window_s` seconds, and `Decisions` closes runs.

    Raises UsageError for values out of range.
    """

    def __init__(
        self,
        head: Head,
        classes: tuple[str, ...],
        rule: DetectionRule,
        window_s: float = WatchOptions.window_s,
        every: int = WatchOptions.every,
        settle: int = SETTLE_SNIPPETS,
    ) -> None:
        if every < 1 or not window_s > 0:
            raise UsageError(f"window of {window_s} s, head every {every} snippets; expected more than 0 s, 1 or more")
        super().__init__(head, classes)
        self._window_s, self._every = window_s, every
        self._decisions = Decisions(rule, settle)
        self._scored = 0  # the head has seen the snippets before this one

    def snippets_at(self, fps: float) -> int:
        """Length of the window in snippets."""
        least = self._decisions.settle + self._every + 1
        return max(round(self._window_s * fps / FRAMES_PER_SNIPPET), least)

    def _update(self, fps: float) -> list[Action]:
        if self._buffer.end - self._scored < self._every:
            return []
        self._buffer.drop_before(self._buffer.end - self.snippets_at(fps))
        starts = self._decisions.open_starts  # a start may lie between two snippets
        self._timeline.forget(self._buffer.first, [*starts, *(start + 1 for start in starts)])
        self._scored = self._buffer.end
        scores = self._scores(self._buffer.end + 1)  # a clip of 8 (k + 1) frames has k features
        return self._actions(self._decisions.update(scores, self._buffer.first, fps / FRAMES_PER_SNIPPET), fps)

    def _finish(self, fps: float) -> list[Action]:
        scores = self._scores(valid_length(self._timeline.frames))
        return self._actions(self._decisions.finish(scores, self._buffer.first, fps / FRAMES_PER_SNIPPET), fps)

    def _actions(self, closed: list[ClosedRun], fps: float) -> list[Action]:
        sps, at = fps / FRAMES_PER_SNIPPET, self._timeline.at
        self.suppressed = self._decisions.suppressed
        found = []
        for run in closed:
            detection = Detection(self._classes[run.label], run.start / sps, run.end / sps, run.score)
            found.append(Action(detection, at(run.start, fps), at(run.end, fps)))
        return found


class WholeStretch(Stretch):
    """Offline: the head runs once, at the end, over all features. Finds the same actions as `detect`."""

    def __init__(self, head: Head, classes: tuple[str, ...], rule: DetectionRule) -> None:
        super().__init__(head, classes)
        self._rule = rule

    def _update(self, fps: float) -> list[Action]:
        return []

    def _finish(self, fps: float) -> list[Action]:
        snippets, frames, at = valid_length(self._timeline.frames), self._timeline.frames, self._timeline.at
        sps = self._rule.snippets_per_second(frames, fps)
        found = detect(self._scores(snippets), self._classes, self._rule, sps)
        per_snippet_s = FRAMES_PER_SNIPPET / fps
        return [Action(one, at(one.start_s / per_snippet_s, fps), at(one.end_s / per_snippet_s, fps)) for one in found]

"""From the features of a stretch of frames to actions: online with a sliding window, or offline at its end.

A stretch is a run of frames without a gap. Both share one interface: `push` features as they arrive, then `finish`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.detections import Detection, DetectionRule, detect
from infdet_deploy.errors import UsageError
from infdet_deploy.live.decisions import SETTLE_SNIPPETS, ClosedRun, Decisions
from infdet_deploy.live.timeline import Timeline
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length

Array = NDArray[np.float32]
Features = Mapping[str, Array]
# (features, float32 [k, d] each; the first one's snippet; snippets of the clip they make) → scores float32 [k, C]
Head = Callable[[Features, int, int], Array]

WINDOW_S = 120.0
EVERY_SNIPPETS = 4


@dataclass(frozen=True)
class Action:
    """An action that is over. detection: as offline, in seconds from the first frame of the stretch; start, end: Unix
    seconds."""

    detection: Detection
    start: float
    end: float


class Stretch(Protocol):
    """One stretch of frames: features in, actions out, each once."""

    @property
    def suppressed(self) -> int:
        """How many runs were an earlier action seen again."""

    def push(self, features: Features, times: Iterable[float], fps: float | None = None) -> list[Action]:
        """Add features and frames; return the actions that have closed.

        features: float32 [k, d] each, k ≥ 0; times: of the frames since the last call, Unix seconds; fps: frame rate of
        the source, None to measure it from the times.
        """

    def finish(self, features: Features, fps: float | None = None) -> list[Action]:
        """Add the last features of the stretch; every run closes."""


class FeatureBuffer:
    """Features of consecutive snippets. first, end: the first snippet kept and the one after the last."""

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


class SlidingWindow:
    """Online: every `every` snippets the head runs over the last `window_s` seconds, and `Decisions` closes runs.

    Raises UsageError for values out of range.
    """

    def __init__(
        self,
        head: Head,
        classes: tuple[str, ...],
        rule: DetectionRule,
        window_s: float = WINDOW_S,
        every: int = EVERY_SNIPPETS,
        settle: int = SETTLE_SNIPPETS,
    ) -> None:
        if every < 1 or not window_s > 0:
            raise UsageError(
                f"window of {window_s} s, head every {every} snippets; expected more than 0, and 1 or more"
            )
        self._head, self._classes = head, classes
        self._window_s, self._every = window_s, every
        self._timeline, self._buffer = Timeline(), FeatureBuffer()
        self._decisions = Decisions(rule, settle)
        self._scored = 0  # the head has run up to here

    @property
    def suppressed(self) -> int:
        return self._decisions.suppressed

    def push(self, features: Features, times: Iterable[float], fps: float | None = None) -> list[Action]:
        self._timeline.add(times)
        self._buffer.add(features)
        fps = fps or self._timeline.fps
        if fps is None or self._buffer.end - self._scored < self._every:
            return []
        self._buffer.drop_before(self._buffer.end - self.snippets_at(fps))
        self._timeline.forget(self._buffer.first, self._decisions.open_starts)
        self._scored = self._buffer.end
        # a clip of 8 (k + 1) frames has k features
        scores = self._scores(self._buffer.end + 1)
        return self._actions(self._decisions.update(scores, self._buffer.first, fps / FRAMES_PER_SNIPPET), fps)

    def finish(self, features: Features, fps: float | None = None) -> list[Action]:
        self._buffer.add(features)
        fps = fps or self._timeline.fps
        if fps is None or self._buffer.end == self._buffer.first:
            return []
        scores = self._scores(valid_length(self._timeline.frames))
        return self._actions(self._decisions.finish(scores, self._buffer.first, fps / FRAMES_PER_SNIPPET), fps)

    def snippets_at(self, fps: float) -> int:
        """Length of the window in snippets."""
        least = self._decisions.settle + self._every + 1
        return max(round(self._window_s * fps / FRAMES_PER_SNIPPET), least)

    def _scores(self, end: int) -> Array:
        return self._head(self._buffer.features(), self._buffer.first, end - self._buffer.first)

    def _actions(self, closed: list[ClosedRun], fps: float) -> list[Action]:
        sps, at = fps / FRAMES_PER_SNIPPET, self._timeline.at
        return [
            Action(
                Detection(self._classes[run.label], run.start / sps, run.end / sps, run.score),
                at(run.start, fps),
                at(run.end, fps),
            )
            for run in closed
        ]


class WholeStretch:
    """Offline: the head runs once, at the end, over all features; the actions are those that `detect` finds."""

    suppressed = 0

    def __init__(self, head: Head, classes: tuple[str, ...], rule: DetectionRule) -> None:
        self._head, self._classes, self._rule = head, classes, rule
        self._timeline, self._buffer = Timeline(), FeatureBuffer()

    def push(self, features: Features, times: Iterable[float], fps: float | None = None) -> list[Action]:
        self._timeline.add(times)
        self._buffer.add(features)
        return []

    def finish(self, features: Features, fps: float | None = None) -> list[Action]:
        self._buffer.add(features)
        fps, frames = fps or self._timeline.fps, self._timeline.frames
        if fps is None or not self._buffer.end:
            return []
        scores = self._head(self._buffer.features(), 0, valid_length(frames))
        # offline counts ⌊T/8⌋ snippets in T frames and spreads them over the whole clip
        found = detect(scores, self._classes, self._rule, valid_length(frames) / (frames / fps))
        per_snippet_s = FRAMES_PER_SNIPPET / fps
        at = self._timeline.at
        return [Action(one, at(one.start_s / per_snippet_s, fps), at(one.end_s / per_snippet_s, fps)) for one in found]

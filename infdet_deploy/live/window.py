"""A sliding window over a camera's features, on which the head runs every few snippets."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from infdet_deploy.detections import Detection, DetectionRule
from infdet_deploy.errors import UsageError
from infdet_deploy.live.decisions import SETTLE_SNIPPETS, Decisions
from infdet_deploy.live.timeline import Timeline
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length

Features = Mapping[str, np.ndarray]
# (features of the window, float32 [k, d] each; its first snippet; snippets of the clip that it is) → scores [k, C]
Head = Callable[[Features, int, int], np.ndarray]

WINDOW_S = 120.0
EVERY_SNIPPETS = 4


@dataclass(frozen=True)
class Found:
    """An action: as offline gives it, in seconds from the stretch's first frame; start and end in Unix seconds."""

    detection: Detection
    start: float
    end: float


class Window:
    """One stretch of frames without a gap: features in, actions out, each once.

    head: see `Head`; window_s: seconds of features that it sees; every: snippets between two of its runs, 0 for one run
    at the end, over all features, which is what offline computes.
    Raises UsageError for a window that is too short to close a run in.
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
        if every < 0 or not window_s > 0:
            raise UsageError(f"window of {window_s} s, head every {every} snippets; expected seconds, and 0 or more")
        self._head, self._classes = head, classes
        self._window_s, self._every = window_s, every
        self._timeline = Timeline()
        self._decisions = Decisions(rule, settle)
        self._parts: dict[str, list[np.ndarray]] = {}
        self._first = self._snippets = self._seen = 0  # features before _first are dropped; the head saw up to _seen

    @property
    def suppressed(self) -> int:
        """How many runs were another look at an action already given."""
        return self._decisions.suppressed

    def push(self, features: Features, times: Iterable[float], fps: float | None = None) -> list[Found]:
        """Take frames' times and the features that are ready since; give the actions that have closed.

        features: float32 [k, d] each, k ≥ 0; times: Unix seconds; fps: the source's frame rate, where it is known,
        else that of the times counts.
        """
        self._timeline.add(times)
        rate = fps or self._timeline.fps
        self._take(features)
        if rate is None or not self._every or self._snippets - self._seen < self._every:
            return []
        width = self.snippets_at(rate)
        self._drop(self._snippets - width)
        return self._run(rate, final=False)

    def finish(self, features: Features, fps: float | None = None) -> list[Found]:
        """Take the last features of the stretch; every run closes."""
        self._take(features)
        rate = fps or self._timeline.fps
        if rate is None or self._snippets == self._first:
            return []
        return self._run(rate, final=True)

    def snippets_at(self, fps: float) -> int:
        """The window's length in snippets."""
        least = self._decisions.settle + self._every + 1
        return max(round(self._window_s * fps / FRAMES_PER_SNIPPET), least)

    def _take(self, features: Features) -> None:
        counts = {len(part) for part in features.values()}
        for name, part in features.items():
            self._parts.setdefault(name, []).append(part)
        self._snippets += counts.pop() if counts else 0

    def _drop(self, first: int) -> None:
        """Forget features before snippet `first`."""
        cut = first - self._first
        if cut <= 0:
            return
        for name, parts in self._parts.items():
            self._parts[name] = [np.concatenate(parts)[cut:]]
        self._first = first
        self._timeline.forget(first, [start for start in self._decisions.open_starts if start is not None])

    def _run(self, fps: float, final: bool) -> list[Found]:
        for name, parts in self._parts.items():
            if len(parts) > 1:
                self._parts[name] = [np.concatenate(parts)]
        frames = self._timeline.frames
        # A clip of 8 (k + 1) frames has k features.
        length = valid_length(frames) - self._first if final else self._snippets - self._first + 1
        scores = self._head({name: parts[0] for name, parts in self._parts.items()}, self._first, length)
        self._seen = self._snippets
        sps, stretch = fps / FRAMES_PER_SNIPPET, 1.0
        if not self._every:  # offline counts ⌊T/8⌋ snippets in a clip of T frames, and spreads them over all of it
            sps = valid_length(frames) / (frames / fps)
            stretch = frames / FRAMES_PER_SNIPPET / valid_length(frames)
        found = []
        for one in self._decisions.decide(scores, self._first, sps, final):
            detection = Detection(self._classes[one.label], one.start / sps, one.end / sps, one.score)
            start, end = (self._timeline.at(snippet * stretch, fps) for snippet in (one.start, one.end))
            found.append(Found(detection, start, end))
        return found

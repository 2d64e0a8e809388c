"""Online rules: which runs of scores become actions while the window slides, each decided once.

The scores of a snippet change as the window grows and slides, because the attention, the super-events and the weight of
each stream depend on the whole window. A decision is final, so a run is decided only when it has closed:

1. A run is closed when `settle` snippets follow its end in the newest window. After 6 snippets the classifier's filters
   (three of length 5) no longer see later snippets; only parts that depend on the whole window still change scores.
2. Everything that ends before the last settled snippet and before the first open run is decided. Runs that appear there
   later are ignored.
3. A run that begins inside an earlier action repeats that action and is dropped. If most of it follows that action,
   that part is a new action.
4. An open run that reaches the start of the window keeps its earlier start.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.detections import DetectionRule, parts, runs

SETTLE_SNIPPETS = 6

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class ClosedRun:
    """A decided action: class index, snippets [start, end) of the stretch, score in 0–1."""

    label: int
    start: int
    end: int
    score: float


@dataclass
class _ClassState:
    """Snippet numbers within the stretch."""

    decided_until: int = 0  # every run that ends here or before is decided
    last_end: int = 0  # end of the last action
    open_start: int | None = None  # start of the first run that is still open


class Decisions:
    """Decides the runs of one stretch of frames.

    suppressed: number of runs that rule 3 dropped.
    """

    def __init__(self, rule: DetectionRule, settle: int = SETTLE_SNIPPETS) -> None:
        self.rule, self.settle = rule, settle
        self.suppressed = 0
        self._states = [_ClassState() for _ in rule.thresholds]

    @property
    def open_starts(self) -> list[int]:
        """The first snippet of each class's first open run."""
        return [state.open_start for state in self._states if state.open_start is not None]

    def update(self, scores: Scores, first: int, snippets_per_second: float) -> list[ClosedRun]:
        """The actions that the newest window closes, ordered by class, then time.

        scores: float32 [k, C] of snippets [first, first + k) of the stretch.
        """
        return self._decide(scores, first, snippets_per_second, first + len(scores) - self.settle)

    def finish(self, scores: Scores, first: int, snippets_per_second: float) -> list[ClosedRun]:
        """As `update`, at the end of the stretch: every run is closed."""
        return self._decide(scores, first, snippets_per_second, first + len(scores))

    def _decide(self, scores: Scores, first: int, snippets_per_second: float, settled: int) -> list[ClosedRun]:
        found: list[ClosedRun] = []
        for label, state in enumerate(self._states):
            pending = list(self._undecided(scores[:, label], first, label))
            for start, end in pending:
                if end <= settled:
                    for one, last, at in self._action(label, start, end, snippets_per_second):
                        # The middle of a very long run has left the window; the window's first snippet is nearest.
                        found.append(ClosedRun(label, one, last, float(scores[max(at - first, 0), label])))
            state.open_start = next((start for start, end in pending if end > settled), None)
            until = settled if state.open_start is None else min(settled, state.open_start)
            state.decided_until = max(state.decided_until, until)
        return found

    def _undecided(self, scores: Scores, first: int, label: int) -> Iterator[tuple[int, int]]:
        """Undecided runs above the class's threshold (rule 2), with their earlier starts (rule 4)."""
        state = self._states[label]
        for begin, stop in runs(scores.astype(np.float64) > self.rule.thresholds[label]):
            start, end = first + begin, first + stop
            if begin == 0 and state.open_start is not None:
                start = min(start, state.open_start)
            if end > state.decided_until:
                yield start, end

    def _action(self, label: int, start: int, end: int, snippets_per_second: float) -> list[tuple[int, int, int]]:
        """Rule 3, then the offline rule: a closed run becomes 0 to 2 parts (start, end, snippet of the score)."""
        state = self._states[label]
        if start < state.last_end:
            if end - state.last_end <= state.last_end - start:
                self.suppressed += 1
                return []
            start = state.last_end
        found = parts(start, end, self.rule.mean_duration_s[label], self.rule.split_long, snippets_per_second)
        if found:
            state.last_end = end
        return found

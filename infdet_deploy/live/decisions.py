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
from math import floor

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.detections import DetectionRule, Run, parts, runs

SETTLE_SNIPPETS = 6

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class ClosedRun:
    """A decided action: class index; start and end in snippets after the stretch's start, whole numbers for published
    ends; score in 0–1."""

    label: int
    start: float
    end: float
    score: float


@dataclass
class _ClassState:
    """Snippet numbers within the stretch."""

    decided_until: int = 0  # every run that ends here or before is decided
    last_end: int = 0  # end of the last action
    last_stop: float = 0.0  # in time
    open_run: Run | None = None  # the first run that is still open


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
        return [floor(state.open_run.begin) for state in self._states if state.open_run is not None]

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
            column = scores[:, label].astype(np.float64)
            pending = list(self._undecided(column, first, label))
            for run in pending:
                if run.end <= settled:
                    found += self._action(label, run, column, first, snippets_per_second)
            state.open_run = next((run for run in pending if run.end > settled), None)
            until = settled if state.open_run is None else min(settled, state.open_run.start)
            state.decided_until = max(state.decided_until, until)
        return found

    def _undecided(self, column: NDArray[np.float64], first: int, label: int) -> Iterator[Run]:
        """Undecided runs of a class (rule 2) in snippets of the stretch, with their earlier starts (rule 4)."""
        state = self._states[label]
        for start, end, begin, stop, score in runs(column, self.rule.thresholds[label], self.rule.ends):
            if first + end <= state.decided_until:
                continue
            run, before = Run(first + start, first + end, first + begin, first + stop, score), state.open_run
            if start == 0 and before is not None and before.start <= run.start:
                run = run._replace(start=before.start, begin=before.begin)
            yield run

    def _action(
        self, label: int, run: Run, column: NDArray[np.float64], first: int, snippets_per_second: float
    ) -> list[ClosedRun]:
        """Rule 3, then the offline rule: a closed run becomes 0 to 2 actions."""
        state, rule = self._states[label], self.rule
        if run.start < state.last_end:
            if run.end - state.last_end <= state.last_end - run.start:
                self.suppressed += 1
                return []
            run = run._replace(start=state.last_end, begin=max(run.begin, state.last_stop))
        if rule.ends == "interpolated":
            long_enough = (run.stop - run.begin) / snippets_per_second >= rule.mean_duration_s[label] / 2
            found = [ClosedRun(label, run.begin, run.stop, run.score)] if long_enough else []
        else:
            pieces = parts(run.start, run.end, rule.mean_duration_s[label], rule.split_long, snippets_per_second)
            # The middle of a very long run has left the window; the window's first snippet is nearest.
            found = [ClosedRun(label, one, last, float(column[max(at - first, 0)])) for one, last, at in pieces]
        if found:
            state.last_end, state.last_stop = run.end, run.stop
        return found

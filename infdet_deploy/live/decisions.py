"""Which runs of scores count as actions, and when: each is decided once, and never again.

The scores of a snippet change as the window over the features grows and slides: the attention, the super-events and
the streams' weight see all of it. What has been said cannot be taken back, so a run is decided when it has closed:

1. `settle` snippets lie after its end in the newest window. Beyond 6 snippets the classifier's own filters (three of
   length 5) no longer see what comes; what still changes a score is what the network thinks of the window as a whole.
2. All that ends before the last closed snippet and before the first run still open is decided. A run that later scores
   would put there is not looked at any more.
3. A run that begins inside an action already given is another look at the same action, and is dropped; where most of it
   lies after that action, the rest is a new one.
4. A run that was open and now begins with the window keeps the start it had.
"""

from dataclasses import dataclass

import numpy as np

from infdet_deploy.detections import DetectionRule, parts, runs

SETTLE_SNIPPETS = 6


@dataclass(frozen=True)
class Decided:
    """An action, decided: class index, first snippet and the one after the last, counted from the stretch's first."""

    label: int
    start: int
    end: int
    score: float


class Decisions:
    """What has been decided of one stretch of frames, and what is open; a few numbers a class.

    open_starts: for each class the first snippet of the earliest run still open, or None.
    suppressed: how often rule 3 dropped a run.
    """

    def __init__(self, rule: DetectionRule, settle: int = SETTLE_SNIPPETS) -> None:
        classes = len(rule.thresholds)
        self.rule, self.settle = rule, settle
        self.open_starts: list[int | None] = [None] * classes
        self.suppressed = 0
        self._decided = [0] * classes  # all runs that end here or before are
        self._given = [0] * classes  # where the last action given ends

    def decide(self, scores: np.ndarray, first: int, snippets_per_second: float, final: bool = False) -> list[Decided]:
        """The actions that the newest window closes, in order of class, then time.

        scores: float32 [k, C], of the window's snippets, the stretch's snippets first … first+k−1; final: no more
        will come, so that every run closes, as at a clip's end.
        """
        found: list[Decided] = []
        closed = first + len(scores) - (0 if final else self.settle)
        for label, threshold in enumerate(self.rule.thresholds):
            still_open = None
            for begin, stop in runs(scores[:, label].astype(np.float64) > threshold):
                start, end = first + begin, first + stop
                if end <= self._decided[label]:
                    continue
                held = self.open_starts[label]
                if begin == 0 and held is not None:
                    start = min(start, held)
                if end > closed:
                    still_open = start if still_open is None else still_open
                    continue
                if start < (given := self._given[label]):
                    if end - given <= given - start:
                        self.suppressed += 1
                        continue
                    start = given
                mean_s = self.rule.mean_duration_s[label]
                for one, last, at in parts(start, end, mean_s, self.rule.split_long, snippets_per_second):
                    # the middle of a run longer than twice the window has left it: its first snippet is the nearest
                    score = float(scores[max(at - first, 0), label])
                    found.append(Decided(label, one, last, score))
                    self._given[label] = end
            self.open_starts[label] = still_open
            until = closed if still_open is None else min(closed, still_open)
            self._decided[label] = max(self._decided[label], until)
        return found

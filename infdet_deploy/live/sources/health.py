"""The state of a source from its pictures: frozen, black or saturated."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# starting: no frame and no failure yet; down: failed and tried again; ended: a file was read to its end or failed.
State = Literal["starting", "ok", "frozen", "black", "saturated", "down", "ended"]

_STEP, _SMALL = 4, 32  # levels are counted on every fourth row and column, in pictures under 32 pixels on all


@dataclass(frozen=True)
class HealthRule:
    """When a source counts as frozen, black or saturated.

    Attributes:
        frozen_s: pictures have not changed for longer than this.
        uniform_s: pictures have been black or saturated for longer than this.
        black_level: highest level of a black pixel, 0–255.
        black_share: share of black pixels from which a picture is black, 0–1.
        saturated_level: lowest level of a saturated pixel, 0–255.
        saturated_share: share of saturated pixels from which a picture is saturated, 0–1.
    """

    frozen_s: float = 10.0
    uniform_s: float = 2.0
    black_level: int = 16
    black_share: float = 0.98
    saturated_level: int = 250
    saturated_share: float = 0.5


class Health:
    """Follows one source from picture to picture."""

    def __init__(self, rule: HealthRule) -> None:
        self._rule = rule
        self._condition: State = "ok"
        self._since = self._last = 0.0

    def update(self, picture: NDArray[np.uint8], same: bool, shown: float) -> State:
        """`ok`, `frozen`, `black` or `saturated`, after this picture, uint8 [H,W].

        same: it equals its predecessor before any mapping of counts. shown: time in seconds.
        """
        rule = self._rule
        sample = picture if min(picture.shape) < _SMALL else picture[::_STEP, ::_STEP]
        condition: State = "frozen" if same else "ok"
        if np.count_nonzero(sample <= rule.black_level) >= rule.black_share * sample.size:
            condition = "black"
        elif np.count_nonzero(sample >= rule.saturated_level) >= rule.saturated_share * sample.size:
            condition = "saturated"
        if condition != self._condition or shown < self._since:
            # A picture is known to be frozen only when it is shown for the second time.
            self._condition, self._since = condition, self._last if condition == "frozen" else shown
        self._last = shown
        lasted_s = shown - self._since
        limit_s = rule.frozen_s if condition == "frozen" else rule.uniform_s
        return condition if condition != "ok" and lasted_s > limit_s else "ok"

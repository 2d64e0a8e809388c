"""16-bit counts of a running camera → grey levels, with a range computed from past frames only.

Offline, `thermal.to_8bit` computes one range from the whole clip. A camera's range follows three rules:

1. The target is the percentiles of all pixels so far; the weight of a frame halves every `half_life_s` seconds.
2. The range follows its target slowly, each end by at most `rate_per_s` of the range's width a second: a warm body that
   enters the picture does not make the background flicker.
3. When most pixels were outside the range for `restart_s` seconds (the camera changed its gain), the range restarts
   from the current frame.
"""

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.video.grey import to_grey
from infdet_deploy.video.thermal import count_range, count_values

_LONGEST_STEP_S = 1.0  # longer steps count as this long: after an outage the scene is usually the same


class CausalRange:
    """The range of counts of one camera, updated frame by frame."""

    def __init__(
        self,
        half_life_s: float = 60.0,
        rate_per_s: float = 0.05,
        restart_s: float = 2.0,
        ends: tuple[float, float] | None = None,
    ) -> None:
        """ends: the range of the same camera before an interruption."""
        self.ends = ends  # the counts that become 0 and 255; None before the first frame
        self._half_life_s, self._rate_per_s, self._restart_s = half_life_s, rate_per_s, restart_s
        self._histogram: NDArray[np.float64] | None = None
        self._time_s = self._outside_s = 0.0

    def update(self, frame: NDArray[np.uint16], time_s: float) -> None:
        """Update the range with a frame, uint16 [H,W], shown at `time_s` seconds on any clock."""
        counts = count_values(frame)
        step_s = min(max(time_s - self._time_s, 0.0), _LONGEST_STEP_S) if self._histogram is not None else 0.0
        self._time_s = time_s
        low, high = self.ends or (0, len(counts))
        inside = counts[int(np.ceil(low)) : int(high) + 1].sum()
        self._outside_s = self._outside_s + step_s if inside * 2 < counts.sum() else 0.0
        if self._histogram is None:
            self._histogram = counts.astype(np.float64)
        elif self._outside_s > self._restart_s:
            self._histogram[:] = counts
            self.ends, self._outside_s = None, 0.0
        else:
            self._histogram *= 0.5 ** (step_s / self._half_life_s)
            self._histogram += counts
        self.ends = self._follow(count_range(self._histogram), step_s)

    def apply(self, frame: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Counts → grey levels with the current range: uint16 of any shape → uint8, clipped."""
        assert self.ends is not None, "call update first"
        low, high = self.ends
        if high <= low:
            return np.zeros(frame.shape, np.uint8)
        return to_grey((frame.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low)))

    def _follow(self, target: tuple[int, int], step_s: float) -> tuple[float, float]:
        if self.ends is None or self.ends[0] == self.ends[1]:
            return float(target[0]), float(target[1])
        low, high = self.ends
        most = self._rate_per_s * step_s * (high - low)
        return float(np.clip(target[0], low - most, low + most)), float(np.clip(target[1], high - most, high + most))

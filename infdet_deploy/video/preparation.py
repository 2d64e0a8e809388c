"""How the pictures of a recording become a network's frames: chosen at training, stored in the bundle."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.video.background import Levels
from infdet_deploy.video.resize import Mode
from infdet_deploy.video.timeline import Timeline, is_even

_ALIKE = 0.1  # rates that differ by at most this share are alike to a network


@dataclass(frozen=True)
class Preparation:
    """The steps from a recording to a network's frames, in this order.

    size: resize to size×size pixels; None keeps the recording's size. mode: `resize` the whole picture, or `crop` its
    centre. levels: of thermal counts: `range` maps the recording's range to 0–255 (see `thermal.grey_table`);
    `background` shows the difference from each pixel's background, of 8-bit recordings too (see `background`).
    frame_rate: interpolate to this many frames a second (see `resampling`); None keeps the recording's frames.
    trained_fps: the frame rate of the training clips; a recording whose rate differs by more than a tenth, or whose
    frames are not evenly spaced, is interpolated to it. None keeps the recording's frames.
    invert: before everything else, for recordings in which warm is dark (black-hot).
    """

    size: int | None = None
    mode: Mode = "resize"
    levels: Levels = "range"
    frame_rate: float | None = None
    trained_fps: float | None = None
    invert: bool = False

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """A frame, uint8 or uint16, in which warm is bright."""
        return np.iinfo(pixels.dtype).max - pixels if self.invert else pixels

    def resampled(self, timeline: Timeline) -> float | None:
        """The rate in frames per second to which a recording is interpolated; None if its frames are kept."""
        rate = self.resampled_rate(timeline.fps)
        if rate is not None or self.trained_fps is None:
            return rate
        parts = np.split(timeline.times_s, np.flatnonzero(np.diff(timeline.part)) + 1)
        return None if all(is_even(times_s, timeline.fps) for times_s in parts) else self.trained_fps

    def resampled_rate(self, fps: float | None) -> float | None:
        """The rate to which evenly spaced frames, `fps` a second, are interpolated; None if they are kept."""
        if self.frame_rate is not None or self.trained_fps is None or fps is None:
            return self.frame_rate
        return None if abs(fps - self.trained_fps) <= _ALIKE * self.trained_fps else self.trained_fps

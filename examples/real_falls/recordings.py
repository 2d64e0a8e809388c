"""The recordings of a data set as warmth above the empty room, at an even frame rate.

The input of boosting.py and tcn.py. The background is a percentile over all frames of the recording; a live version
would have to follow it as time passes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy import Clip, UsageError, open_dataset
from infdet_deploy.video.sensor import hold_warm_up

Array = NDArray[np.float32]

BACKGROUND_PERCENTILE = 40  # of a pixel over the recording: below the median, as people lie and sit for long


@dataclass(frozen=True)
class Warmth:
    """A recording without its background.

    frames: float32 [T, H, W], kelvin above the empty room, `fps` frames a second from the first frame on. day: the
    recording's day, the first part of its name.
    """

    clip: Clip
    frames: Array
    fps: float

    @property
    def day(self) -> str:
        return self.clip.name.split("_")[0]


def read_warmth(data: Path, subset: str, fps: float) -> list[Warmth]:
    """The recordings of a subset of a data set that data_set.py made. Raises UsageError for other recordings."""
    found = []
    dataset = open_dataset(data)
    for clip in dataset.select(subset):
        path = data / "videos" / f"{clip.name}.npz"
        if not path.is_file():
            raise UsageError(f"{path} is missing; make the data set with data_set.py")
        with np.load(path) as arrays:
            frames, times_s = arrays["frames"], arrays["times_s"]
        found.append(Warmth(clip, at_even_rate(without_background(frames), times_s - times_s[0], fps), fps))
    return found


def without_background(frames: Array) -> Array:
    """Temperatures [T, H, W] in °C → kelvin above the empty room, float32 [T, H, W].

    The frames of the sensor's warm-up become the first frame after it. The background is a percentile of each pixel;
    the median of each frame is subtracted too, as the sensor's own temperature drifts.
    """
    steady, _ = hold_warm_up(frames)
    warmth = steady - np.percentile(steady, BACKGROUND_PERCENTILE, axis=0)
    warmth -= np.median(warmth, axis=(1, 2), keepdims=True)
    return np.asarray(warmth, np.float32)


def at_even_rate(frames: Array, times_s: NDArray[np.float64], fps: float) -> Array:
    """Frames [T, H, W] at uneven times [T] in seconds from 0 → `fps` frames a second, linear in time."""
    wanted_s = np.arange(int(times_s[-1] * fps) + 1) / fps
    after = np.clip(np.searchsorted(times_s, wanted_s, side="right"), 1, len(times_s) - 1)
    share = (wanted_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1])
    weight = share.clip(0, 1)[:, None, None]
    return np.asarray(frames[after - 1] * (1 - weight) + frames[after] * weight, np.float32)

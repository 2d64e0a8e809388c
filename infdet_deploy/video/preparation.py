"""How the pictures of a recording become a network's frames: chosen at training, stored in the bundle."""

from dataclasses import dataclass

from infdet_deploy.video.background import Levels
from infdet_deploy.video.resize import Mode


@dataclass(frozen=True)
class Preparation:
    """The steps from a recording to a network's frames, in this order.

    size: resize to size×size pixels; None keeps the recording's size. mode: `resize` the whole picture, or `crop` its
    centre. levels: of thermal counts: `range` maps the recording's range to 0–255 (see `thermal.grey_table`);
    `background` shows the difference from each pixel's background, of 8-bit recordings too (see `background`).
    frame_rate: interpolate to this many frames a second (see `resampling`); None keeps the recording's frames.
    """

    size: int | None = None
    mode: Mode = "resize"
    levels: Levels = "range"
    frame_rate: float | None = None

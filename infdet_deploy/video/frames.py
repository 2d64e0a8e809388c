"""Any recording → uint8 frames with their times."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.video.arrays import ThermalArray
from infdet_deploy.video.background import Levels
from infdet_deploy.video.block_reader import BlockReader
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.resize import Mode


@dataclass(frozen=True)
class Video:
    """A clip in memory.

    Attributes:
        name: file name without its suffix, or the folder's name.
        frames: uint8 [T,H,W], 0–255.
        fps: mean frame rate in frames per second.
        timestamps_s: float64 [T], seconds since the first frame.
        notes: what the user should know about the recording, such as dead pixels.
    """

    name: str
    frames: NDArray[np.uint8]
    fps: float
    timestamps_s: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length in seconds, each frame lasting 1/fps."""
        return len(self.frames) / self.fps


def read_video(
    path: Path | str | ThermalArray,
    size: int | None = None,
    mode: Mode = "resize",
    fps: float | None = None,
    min_frames: int = 0,
    levels: Levels = "range",
    frame_rate: float | None = None,
) -> Video:
    """Read a recording: a folder of images, a thermal recording or array, or any video file that libav reads.

    Args:
        path: a folder; a `.cptv`, `.tif`, `.npy`, `.npz` or `.csv` file, any video file; or a `ThermalArray`.
        size: resize frames to `size`×`size` while decoding (see `resize`), so that a large video is never in memory at
            full size; None keeps the recording's size.
        mode: `resize` or `crop`; only used with `size`.
        fps: frame rate that replaces the file's rate and timestamps; frames are neither dropped nor repeated. The
            default for folders and TIFF stacks, which carry no rate, is 25.
        min_frames: refuse shorter clips.
        levels: `range` maps grey of more than 8 bits (thermal counts) to grey levels with one range for the whole clip,
            see `to_8bit`; the range is taken from the pixels before any resizing. `background` shows the difference
            from each pixel's background at 50 levels a kelvin, see `video.background`.
        frame_rate: interpolate to this many frames a second, see `video.resampling`; None keeps the frames.

    Returns:
        The clip.

    Raises:
        VideoError: missing, empty, not a video, no video stream, damaged or cut short, too few frames, or
            frames of several sizes.
        UsageError: `size`, `mode`, `fps` or `frame_rate` is out of range.
        InfdetError: a package for this kind of file is not installed.
    """
    return read_prepared(path, Preparation(size, mode, levels, frame_rate), fps, min_frames)


def read_prepared(
    path: Path | str | ThermalArray, preparation: Preparation, fps: float | None = None, min_frames: int = 0
) -> Video:
    """`read_video` with the steps of a network, such as `Bundle.preparation`."""
    with BlockReader(path, preparation, fps, min_frames) as reader:
        frames = np.concatenate(list(reader))
    assert reader.fps is not None
    return Video(reader.name, frames, reader.fps, reader.timestamps_s, tuple(reader.notes))

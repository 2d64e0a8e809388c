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
from infdet_deploy.video.timeline import Part


@dataclass(frozen=True)
class Video:
    """A clip in memory.

    Attributes:
        name: file name without its suffix, or the folder's name.
        frames: uint8 [T,H,W], 0–255.
        fps: frame rate in frames per second; pauses do not count.
        timestamps_s: float64 [T], seconds on the recording's time line, which a player shows. A video that starts
            after the sound does not start at 0.
        notes: what the user should know about the recording, such as dead pixels.
        parts: the stretches of frames without a pause, in order; empty: one stretch with a constant rate.
    """

    name: str
    frames: NDArray[np.uint8]
    fps: float
    timestamps_s: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def duration_s(self) -> float:
        """The end of the last frame on the recording's time line, in seconds."""
        return self.clips[-1][0].end_s

    @property
    def clips(self) -> list[tuple[Part, NDArray[np.uint8]]]:
        """Each part with its frames, uint8 [n,H,W]."""
        parts = self.parts or (Part(self.fps, np.arange(len(self.frames)) / self.fps),)
        ends = np.cumsum([len(part.times_s) for part in parts])
        return list(zip(parts, np.split(self.frames, ends[:-1]), strict=True))


def read_video(
    path: Path | str | ThermalArray,
    size: int | None = None,
    mode: Mode = "resize",
    fps: float | None = None,
    min_frames: int = 0,
    levels: Levels = "range",
    frame_rate: float | None = None,
    strict: bool = False,
    invert: bool = False,
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
        strict: refuse damaged recordings and those that are cut short; by default, their notes say what is left out.
        invert: for recordings in which warm is dark (black-hot).

    Returns:
        The clip.

    Raises:
        VideoError: missing, empty, not a video, no video stream, nothing decodes, too few frames, or frames of several
            sizes; with `strict`, also damaged or cut short.
        UsageError: `size`, `mode`, `fps` or `frame_rate` is out of range.
        InfdetError: a package for this kind of file is not installed.
    """
    return read_prepared(path, Preparation(size, mode, levels, frame_rate, invert=invert), fps, min_frames, strict)


def read_prepared(
    path: Path | str | ThermalArray,
    preparation: Preparation,
    fps: float | None = None,
    min_frames: int = 0,
    strict: bool = False,
) -> Video:
    """`read_video` with the steps of a network, such as `Bundle.preparation`."""
    with BlockReader(path, preparation, fps, min_frames, strict) as reader:
        frames = np.concatenate(list(reader))
    assert reader.fps is not None
    times_s = np.concatenate([part.times_s for part in reader.parts])
    return Video(reader.name, frames, reader.fps, times_s, tuple(reader.notes), tuple(reader.parts))

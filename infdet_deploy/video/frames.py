"""Any recording → uint8 frames with their times."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError, VideoError, reason
from infdet_deploy.video.containers import read_container
from infdet_deploy.video.images import read_folder
from infdet_deploy.video.resize import Mode, check_request, resize
from infdet_deploy.video.thermal import count_values, grey_table, read_cptv, read_tiff
from infdet_deploy.video.timing import Timing, resolve

# Readers of files that libav does not read, by suffix.
OTHER_READERS = {".cptv": read_cptv, ".tif": read_tiff, ".tiff": read_tiff}


@dataclass(frozen=True)
class Video:
    """A clip in memory.

    Attributes:
        name: file name without its suffix, or the folder's name.
        frames: uint8 [T,H,W], 0–255.
        fps: mean frame rate in frames per second.
        timestamps_s: float64 [T], seconds since the first frame.
    """

    name: str
    frames: NDArray[np.uint8]
    fps: float
    timestamps_s: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """Length in seconds, each frame lasting 1/fps."""
        return len(self.frames) / self.fps


def read_video(
    path: Path | str,
    size: int | None = None,
    mode: Mode = "resize",
    fps: float | None = None,
    min_frames: int = 0,
) -> Video:
    """Read a recording: a folder of pictures, a `.cptv` or TIFF stack, or any video file that libav reads.

    Args:
        path: file or folder.
        size: resize frames to `size`×`size` while decoding (see `resize`), so that a large video is never in memory at
            full size; None keeps the recording's size.
        mode: `resize` or `crop`; only used with `size`.
        fps: frame rate that replaces the file's rate and timestamps; frames are neither dropped nor repeated. The
            default for folders and TIFF stacks, which carry no rate, is 25.
        min_frames: refuse shorter clips.

    Returns:
        The clip. Grey of more than 8 bits (thermal counts) is mapped to grey levels with one range for the whole clip,
        see `to_8bit`; the range is taken from the pixels before any resizing.

    Raises:
        VideoError: missing, empty, not a video, no video stream, damaged or cut short, too few frames, or
            frames of several sizes.
        UsageError: `size`, `mode` or `fps` is out of range.
        InfdetError: a package for this kind of file is not installed.
    """
    path = Path(path)
    check_rate(fps)
    intake = Intake(path, size, mode)
    kept: list[NDArray[Any]] = []

    def keep(frame: NDArray[Any]) -> None:
        intake.count_in(frame)
        kept.append(intake.resized(frame))

    timing = read_recording(path, keep)
    check_length(path, len(kept), min_frames)
    table = intake.table()
    frames = np.empty((len(kept), *kept[0].shape), np.uint8)
    for index, frame in enumerate(kept):
        frames[index] = frame if table is None else table[frame]
    rate, timestamps_s = resolve(timing, len(frames), fps)
    return Video(recording_name(path), frames, rate, timestamps_s)


def read_recording(path: Path, keep: Callable[[NDArray[Any]], None]) -> Timing:
    """Call `keep` with every frame of a recording, uint8 or uint16 [H,W], valid only during the call.

    Returns the recording's timing; raises as `read_video` does.
    """
    try:
        return _reader(path)(path, keep)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)}); check the path and its permissions") from None


def recording_name(path: Path) -> str:
    """A file's name without its suffix, or the folder's name."""
    return path.name if path.is_dir() else path.stem


def check_rate(fps: float | None) -> None:
    """Raise UsageError unless a given frame rate is a positive number."""
    if fps is not None and not 0 < fps < float("inf"):
        raise UsageError(f"fps is {fps}; expected frames per second, such as 25")


def check_length(path: Path, frames: int, min_frames: int) -> None:
    """Raise VideoError for a recording of too few frames."""
    if frames < max(min_frames, 1):
        raise VideoError(
            f"{path}: clip has {frames} frames; at least {max(min_frames, 1)} are needed: use a longer recording"
        )


def _reader(path: Path) -> Callable[[Path, Callable[[NDArray[Any]], None]], Timing]:
    """The reader for this kind of path; VideoError if it is missing or empty."""
    if path.is_dir():
        return read_folder
    if not path.exists():
        raise VideoError(
            f"{path}: no such file or folder; expected a video, a thermal recording or a folder of pictures"
        )
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(
            f"{path}: the file is empty; expected a video: check that it was copied or recorded completely"
        )
    return OTHER_READERS.get(path.suffix.lower(), read_container)


class Intake:
    """Prepares the frames of a recording: checks that all are alike, resizes, and collects the histogram of counts."""

    def __init__(self, path: Path, size: int | None, mode: Mode) -> None:
        check_request(1 if size is None else size, mode)
        self._path, self._size = path, size
        self._mode: Mode = mode
        self._first: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        self._histogram: NDArray[np.int64] | None = None
        self.count = 0

    def count_in(self, frame: NDArray[Any]) -> None:
        """Check and count one frame, uint8 or uint16 [H,W]; VideoError if it differs from the first."""
        kind = (frame.shape, frame.dtype)
        if self._first is None:
            self._first = kind
        elif kind != self._first:
            raise VideoError(
                f"{self._path}: frame {self.count} is {_text(kind)}, the first is {_text(self._first)};"
                " expected one size throughout: re-encode the video to one size"
            )
        if frame.dtype == np.uint16:
            counts = count_values(frame)
            self._histogram = counts if self._histogram is None else self._histogram + counts
        self.count += 1

    def resized(self, frame: NDArray[Any]) -> NDArray[Any]:
        """The frame at the requested size, always a new array."""
        return frame.copy() if self._size is None else resize(frame, self._size, self._mode)

    def table(self) -> NDArray[np.uint8] | None:
        """The grey level of each count, uint8 [65536]; None if frames are grey levels already."""
        return None if self._histogram is None else grey_table(self._histogram)


def _text(kind: tuple[tuple[int, ...], np.dtype[Any]]) -> str:
    (height, width), dtype = kind
    return f"{width}x{height} {dtype}"

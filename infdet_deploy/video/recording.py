"""Which reader a recording needs, its frames and its time line."""

from array import array
from collections.abc import Callable, Iterator
from math import isnan, nan
from pathlib import Path
from typing import TypeGuard

import numpy as np

from infdet_deploy.errors import UsageError, VideoError, reason
from infdet_deploy.video.arrays import ThermalArray, read_csv, read_npy, read_npz
from infdet_deploy.video.containers import announced_frames, read_container, read_stamps
from infdet_deploy.video.images import picture_files, read_folder
from infdet_deploy.video.thermal import read_cptv
from infdet_deploy.video.tiff import read_tiff
from infdet_deploy.video.timeline import FrameClock, Timeline, resolve
from infdet_deploy.video.timing import Doubts, RawFrame

# Readers of files that libav does not read, by suffix.
OTHER_READERS: dict[str, Callable[[Path], Iterator[RawFrame]]] = {
    ".cptv": read_cptv, ".tif": read_tiff, ".tiff": read_tiff, ".npy": read_npy, ".npz": read_npz, ".csv": read_csv,
}  # fmt: skip


def recording_name(source: Path | ThermalArray) -> str:
    """A file's name without its suffix, a folder's name, or an array's."""
    if isinstance(source, ThermalArray):
        return source.name
    return source.name if source.is_dir() else source.stem


def is_container(source: Path | ThermalArray) -> TypeGuard[Path]:
    """Whether libav reads this recording."""
    return isinstance(source, Path) and not source.is_dir() and source.suffix.lower() not in OTHER_READERS


def read_recording(path: Path | ThermalArray, doubts: Doubts | None = None) -> Iterator[RawFrame]:
    """The frames of a file, a folder of images or an array; raises as `read_video` does."""
    if isinstance(path, ThermalArray):
        yield from path.read()
        return
    try:
        if path.is_dir():
            yield from read_folder(path)
            return
        _check_file(path)
        if is_container(path):
            yield from read_container(path, doubts)
        else:
            yield from OTHER_READERS[path.suffix.lower()](path)
    except OSError as error:
        raise _unreadable(path, error) from None


def timeline_of(source: Path | ThermalArray, fps: float | None = None) -> tuple[Timeline, FrameClock, list[str]]:
    """The time line of a recording, the clock of its frames and notes, without decoding a video; as `read_recording`.

    Recordings without stamps are not read to the end.
    """
    note, base_s = "", 0.0
    if is_container(source):
        try:
            _check_file(source)
        except OSError as error:
            raise _unreadable(source, error) from None
        stated, declared, note = read_stamps(source)
    else:
        seen, declared = array("d"), None
        for raw in read_recording(source):
            seen.append(raw.time_s)
            declared = raw.fps
            if isnan(raw.time_s):
                break
        stated = np.array(seen)
        base_s = 0.0 if np.isnan(stated).all() else float(stated[np.isfinite(stated)][0])
    if not len(stated):  # told when decoding
        stated = np.full(1, nan)
    timeline = resolve(stated - base_s, declared, fps)
    return timeline, FrameClock(timeline, stated), [note] if note and fps is None else []


def _unreadable(path: Path, error: OSError) -> VideoError:
    return VideoError(f"{path}: cannot be read ({reason(error)}); check the path and its permissions")


def _check_file(path: Path) -> None:
    """Raise VideoError for a path that does not exist or is empty."""
    if not path.exists():
        raise VideoError(f"{path}: no such file or folder; expected a video, a thermal recording or a folder of images")
    if not path.is_file():
        raise VideoError(f"{path}: a pipe or device; expected a file: save the recording first")
    if path.stat().st_size == 0:
        raise VideoError(
            f"{path}: the file is empty; expected a video: check that it was copied or recorded completely"
        )


def check_rate(fps: float | None) -> None:
    """Raise UsageError unless a given frame rate is a positive number."""
    if fps is not None and not 0 < fps < float("inf"):
        raise UsageError(f"fps is {fps}; expected frames per second, such as 25")


def expected_frames(path: Path) -> int | None:
    """Approximate number of frames in a recording, without decoding it; None if unknown."""
    try:
        if path.is_dir():
            return len(picture_files(path)) or None
        return None if path.suffix.lower() in OTHER_READERS else announced_frames(path)
    except (VideoError, OSError):
        return None

"""Frames of a recording in blocks, decoded ahead by a thread: for recordings larger than memory."""

import queue
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError, VideoError, reason
from infdet_deploy.video.arrays import ThermalArray, read_csv, read_npy, read_npz
from infdet_deploy.video.background import BackgroundLevels, Levels
from infdet_deploy.video.containers import announced_frames, read_container
from infdet_deploy.video.images import picture_files, read_folder
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.resampling import Resampler
from infdet_deploy.video.resize import check_request, resize
from infdet_deploy.video.thermal import count_values, grey_table, read_cptv
from infdet_deploy.video.tiff import read_tiff
from infdet_deploy.video.timing import FrameTimes, RawFrame

# Readers of files that libav does not read, by suffix.
OTHER_READERS = {
    ".cptv": read_cptv, ".tif": read_tiff, ".tiff": read_tiff, ".npy": read_npy, ".npz": read_npz, ".csv": read_csv,
}  # fmt: skip
BLOCK_FRAMES = 64
BLOCKS_AHEAD = 4  # blocks decoded in advance
KEPT_BYTES = 256e6  # of a recording of more than 8 bits; a larger one is decoded twice


class BlockReader:
    """The frames of `read_video`, block by block. Iterate once, inside a `with` block, whose end stops the thread.

    Recordings of more than 8 bits are read for the range of their counts first; large ones are then decoded again.

    Attributes:
        name: as in `Video`.
        frames: frames so far; at the end, those of the recording.
        fps: frames per second; None before the end.
        timestamps_s: float64 [T], seconds since the first frame; empty before the end.
        notes: what the user should know about the recording, such as dead pixels.
    """

    def __init__(
        self,
        path: Path | str | ThermalArray,
        preparation: Preparation,
        fps: float | None = None,
        min_frames: int = 0,
    ) -> None:
        """path, fps, min_frames: as in `read_video`. Errors in the recording are raised while iterating."""
        check_rate(fps)
        check_rate(preparation.frame_rate)
        if preparation.levels not in get_args(Levels):
            raise UsageError(f"unknown levels {preparation.levels!r}; expected one of: {', '.join(get_args(Levels))}")
        check_request(1 if preparation.size is None else preparation.size, preparation.mode)
        self._source = path if isinstance(path, ThermalArray) else Path(path)
        self._preparation, self._rate, self._min_frames = preparation, fps, min_frames
        self.name = recording_name(self._source)
        self.frames = 0
        self.fps: float | None = None
        self.timestamps_s: NDArray[np.float64] = np.zeros(0)
        self.notes: list[str] = []
        self._used = self._closed = False
        self._blocks = self._ahead()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Blocks, uint8 [n, size, size], n ≥ 1. Raises as `read_video`, when the decoder reaches the error.

        Raises RuntimeError when called again or after the `with` block.
        """
        if self._used:
            raise RuntimeError(f"{self._source}: a BlockReader can be iterated only once; open another one")
        self._used = True
        return self._blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._used = True
        self._blocks.close()

    def _ahead(self) -> Generator[NDArray[np.uint8]]:
        """Blocks, of which a thread decodes `BLOCKS_AHEAD` in advance."""
        ready: queue.Queue[NDArray[np.uint8] | BaseException | None] = queue.Queue(BLOCKS_AHEAD - 1)  # one more waits
        thread = threading.Thread(target=self._fill, args=(ready,), name=f"decode {self.name}", daemon=True)
        thread.start()
        try:
            while (block := ready.get()) is not None:
                if isinstance(block, BaseException):
                    raise block
                self.frames += len(block)
                yield block
        finally:
            self._closed = True  # so that the thread ends now
            while thread.is_alive() and not sys.is_finalizing():
                with suppress(queue.Empty):
                    ready.get(timeout=0.02)  # the thread may be waiting for space

    def _fill(self, ready: "queue.Queue[NDArray[np.uint8] | BaseException | None]") -> None:
        """In the thread: put all blocks, then None; or an error."""
        try:
            frames = self._decode()
            while block := list(islice(frames, BLOCK_FRAMES)):
                ready.put(np.stack(block))
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    def _decode(self) -> Generator[NDArray[np.uint8]]:
        """Frames as prepared; `fps` and `timestamps_s` are known at the end."""
        times, rate, count = FrameTimes(self._rate), self._preparation.frame_rate, 0
        resampler = None if rate is None else Resampler(rate)
        for frame, time_s in self._levels(times):
            for ready, _ in [(frame, time_s)] if resampler is None else resampler.push(frame, time_s):
                count += 1
                yield ready
        if self._closed:
            return
        least = max(self._min_frames, 1)
        if count < least:
            raise VideoError(
                f"{self._source}: clip has {count} frames; at least {least} are needed: use a longer recording"
            )
        if rate is None:
            self.fps, self.timestamps_s = times.resolve()
        else:
            self.fps, self.timestamps_s = rate, np.arange(count) / rate

    def _levels(self, times: FrameTimes) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Grey frames at the requested size, with their times, which are added to `times`."""
        if self._preparation.levels == "background":
            levels = BackgroundLevels(causal=False)
            for raw in self._alike():
                yield from levels.push(self._resized(raw.pixels), times.add(raw))
            yield from levels.finish()
            return
        histogram = None
        kept: list[NDArray[Any]] | None = []  # the counts, for short recordings
        for raw in self._alike():
            time_s = times.add(raw)
            if raw.pixels.dtype == np.uint8:
                yield self._resized(raw.pixels), time_s
                continue
            counts = count_values(raw.pixels)
            histogram = counts if histogram is None else histogram + counts
            if kept is not None:
                kept.append(self._resized(raw.pixels))
                if kept[0].nbytes * len(kept) > KEPT_BYTES:
                    kept = None
        if histogram is None or self._closed:
            return
        table, shown, index = grey_table(histogram), times.shown(), -1
        for index, pixels in enumerate(kept or (self._resized(raw.pixels) for raw in self._alike())):
            if index < len(shown):
                yield table[pixels], shown[index]
        if index + 1 != len(shown):
            raise VideoError(f"{self._source}: the file changed during reading; wait until it is complete")

    def _alike(self) -> Iterator[RawFrame]:
        """The recording's frames; VideoError for one whose size or type differs from the first."""
        first = None
        for index, raw in enumerate(read_recording(self._source)):
            (height, width), dtype = raw.pixels.shape, raw.pixels.dtype
            kind = f"{width}x{height} {dtype}"
            first = first or kind
            if self._closed:
                return
            if raw.note and raw.note not in self.notes:
                self.notes.append(raw.note)
            if kind != first:
                raise VideoError(
                    f"{self._source}: frame {index} is {kind}, the first is {first};"
                    " expected one size throughout: re-encode the video to one size"
                )
            yield raw

    def _resized(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The frame at the requested size, always a new array."""
        size, mode = self._preparation.size, self._preparation.mode
        return pixels.copy() if size is None else resize(pixels, size, mode)


def recording_name(source: Path | ThermalArray) -> str:
    """A file's name without its suffix, a folder's name, or an array's."""
    if isinstance(source, ThermalArray):
        return source.name
    return source.name if source.is_dir() else source.stem


def read_recording(path: Path | ThermalArray) -> Iterator[RawFrame]:
    """The frames of a file, a folder of images or an array; raises as `read_video` does."""
    if isinstance(path, ThermalArray):
        yield from path.read()
        return
    try:
        if path.is_dir():
            yield from read_folder(path)
            return
        if not path.exists():
            raise VideoError(
                f"{path}: no such file or folder; expected a video, a thermal recording or a folder of images"
            )
        if path.is_file() and path.stat().st_size == 0:
            raise VideoError(
                f"{path}: the file is empty; expected a video: check that it was copied or recorded completely"
            )
        yield from OTHER_READERS.get(path.suffix.lower(), read_container)(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)}); check the path and its permissions") from None


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


def frames_at(
    path: Path, numbers: NDArray[np.int_], preparation: Preparation, fps: float | None = None
) -> NDArray[np.uint8]:
    """Frames of a recording by number, in ascending order: uint8 [n, size, size], as from `BlockReader`."""
    found: list[NDArray[np.uint8]] = []
    with BlockReader(path, preparation, fps) as stream:
        for block in stream:
            begin = stream.frames - len(block)
            found += [block[n - begin] for n in numbers if begin <= n < stream.frames]
    return np.stack(found)

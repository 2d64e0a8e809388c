"""Frames of a recording in blocks, decoded ahead by a thread: for recordings larger than memory."""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError
from infdet_deploy.video.containers import announced_frames
from infdet_deploy.video.frames import OTHER_READERS, Intake, check_length, check_rate, read_recording, recording_name
from infdet_deploy.video.images import picture_files
from infdet_deploy.video.resize import Mode, check_request
from infdet_deploy.video.timing import resolve

BLOCK_FRAMES = 64
BLOCKS_AHEAD = 4  # blocks decoded in advance


class _StoppedError(Exception):
    """The reader was closed."""


class BlockReader:
    """The frames of `read_video`, block by block. Iterate once, inside a `with` block, whose end stops the thread.

    Recordings of more than 8 bits are read twice, first for the range of their counts.

    Attributes:
        name: as in `Video`.
        frames: frames so far; at the end, those of the recording.
        fps: frames per second; None before the end.
    """

    def __init__(
        self, path: Path | str, size: int, mode: Mode = "resize", fps: float | None = None, min_frames: int = 0
    ) -> None:
        """Arguments as in `read_video`. Errors in the recording are raised while iterating."""
        self._path, self._size, self._mode = Path(path), size, mode
        self._rate, self._min_frames = fps, min_frames
        check_rate(fps)
        check_request(size, mode)
        self.name = recording_name(self._path)
        self.frames = 0
        self.fps: float | None = None
        self._queue: queue.Queue[NDArray[np.uint8] | BaseException | None] = queue.Queue(BLOCKS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._decode, name=f"decode {self.name}", daemon=True)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Blocks, uint8 [n, size, size], n ≥ 1. Raises as `read_video`, when the decoder reaches the error."""
        self._thread.start()
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self.frames += len(item)
            yield item

    def close(self) -> None:
        """End the thread; blocks not yet read are lost."""
        self._stopped.set()
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._queue.get(timeout=0.05)  # the thread may be waiting for space
        self._queue.queue.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self) -> None:
        """Runs in the thread: queues all blocks, then None; or an error."""
        try:
            self._read()
            self._put(None)
        except _StoppedError:
            pass
        except BaseException as error:
            with suppress(_StoppedError):
                self._put(error)

    def _read(self) -> None:
        blocks = _Blocks(self._size, self._put)
        table: NDArray[np.uint8] | None = None
        intake = Intake(self._path, self._size, self._mode)

        def keep(frame: NDArray[Any]) -> None:
            if self._stopped.is_set():
                raise _StoppedError
            intake.count_in(frame)
            if frame.dtype == np.uint8:
                blocks.add(intake.resized(frame))
            elif table is not None:
                blocks.add(table[intake.resized(frame)])

        timing = read_recording(self._path, keep)
        first, table = intake.count, intake.table()
        if table is not None:
            intake = Intake(self._path, self._size, self._mode)
            read_recording(self._path, keep)
            if intake.count != first:
                raise VideoError(f"{self._path}: the file changed during reading; wait until it is complete")
        check_length(self._path, first, self._min_frames)
        self.fps, _ = resolve(timing, first, self._rate)
        blocks.flush()

    def _put(self, item: NDArray[np.uint8] | BaseException | None) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.05)
                return
        raise _StoppedError


class _Blocks:
    """Collects frames into blocks and passes on each full one."""

    def __init__(self, size: int, put: Any) -> None:
        self._size, self._put = size, put
        self._block = np.empty((BLOCK_FRAMES, size, size), np.uint8)
        self._count = 0

    def add(self, frame: NDArray[np.uint8]) -> None:
        self._block[self._count] = frame
        self._count += 1
        if self._count == BLOCK_FRAMES:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._put(self._block[: self._count])
            self._block, self._count = np.empty_like(self._block), 0


def expected_frames(path: Path | str) -> int | None:
    """Approximate number of frames in a recording, without decoding it; None if unknown."""
    path = Path(path)
    try:
        if path.is_dir():
            return len(picture_files(path)) or None
        return None if path.suffix.lower() in OTHER_READERS else announced_frames(path)
    except (VideoError, OSError):
        return None


def frames_at(path: Path | str, numbers: NDArray[np.int_], size: int, mode: Mode = "resize") -> NDArray[np.uint8]:
    """Frames of a recording by number, in ascending order: uint8 [n, size, size], as from `BlockReader`."""
    found: list[NDArray[np.uint8]] = []
    with BlockReader(path, size, mode) as stream:
        for block in stream:
            begin = stream.frames - len(block)
            found += [block[n - begin] for n in numbers if begin <= n < stream.frames]
    return np.stack(found)

"""A short video of every event, from 3 s before to 3 s after it; bounded in memory and on disk."""

import contextlib
import queue
import re
import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.files import whole_file
from infdet_deploy.live.events import Event
from infdet_deploy.video.writing import write_video

BEFORE_S = AFTER_S = 3.0
BUFFER_S, BUFFER_BYTES = 120.0, 64 << 20  # limits of the frames kept for one camera
_SUFFIX = ".event.mp4"  # only files of this name are removed to make room
_QUEUED = 8  # most clips that wait to be written
_ABANDONED_S = 600.0  # a temporary file of this age was left by a killed process

Frames = list[tuple[float, np.ndarray]]


def clip_name(event: Event) -> str:
    """File name of an event's clip: camera, start in UTC, class and the id's beginning."""
    start = datetime.fromtimestamp(event.start, UTC).strftime("%Y%m%dT%H%M%SZ")
    camera, label = (re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-") or "x" for text in (event.camera, event.label))
    return f"{camera}_{start}_{label}_{event.id[:8]}{_SUFFIX}"


class ClipSaver:
    """Writes clips into a folder, in its own thread; the oldest clips make room for new ones."""

    def __init__(self, folder: Path | str, max_gb: float) -> None:
        self._folder, self._max_bytes = Path(folder), max_gb * 1e9
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f".*{Path(_SUFFIX).suffix}"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    left.unlink()
        self._queue: queue.Queue[tuple[str, Frames] | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def put(self, name: str, frames: Frames) -> None:
        """Queue a clip; when too many wait, it is lost, with a note."""
        try:
            self._queue.put_nowait((name, frames))
        except queue.Full:
            say(f"clip {name} is lost: the disk or the processor is too slow")

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            name, frames = item
            try:
                write_clip(self._folder / name, frames)
                self._make_room()
            except Exception as error:
                say(f"clip {name} is lost: {first_line(error)}")

    def _make_room(self) -> None:
        clips = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                clips.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in clips)
        for _, size, path in sorted(clips):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size

    def close(self, deadline: float) -> None:
        """Write queued clips until `deadline` (time.monotonic())."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=max(0.0, deadline - time.monotonic()))
        self._thread.join(max(0.0, deadline - time.monotonic()))


class ClipBuffer:
    """The latest frames of one camera, and the events whose clips still lack frames. Used by one thread."""

    def __init__(self, saver: ClipSaver, before_s: float = BEFORE_S, after_s: float = AFTER_S) -> None:
        self._saver, self._before_s, self._after_s = saver, before_s, after_s
        self._frames: deque[tuple[float, np.ndarray]] = deque()
        self._bytes = 0
        self._waiting: list[tuple[str, float, float]] = []

    def add(self, shown: float, picture: np.ndarray) -> None:
        """Add a frame, uint8 [S, S], shown at `shown`, Unix seconds."""
        self._frames.append((shown, picture))
        self._bytes += picture.nbytes
        while self._bytes > BUFFER_BYTES or shown - self._frames[0][0] > BUFFER_S:
            self._bytes -= self._frames.popleft()[1].nbytes
        self._save_until(shown)

    def save(self, event: Event) -> None:
        """Save the clip `event.clip` as soon as all of its frames have arrived."""
        assert event.clip is not None
        self._waiting.append((event.clip, event.start - self._before_s, event.end + self._after_s))
        if self._frames:
            self._save_until(self._frames[-1][0])

    def finish(self) -> None:
        """The source is over: save the waiting clips with the frames so far."""
        self._save_until(float("inf"))

    def _save_until(self, now: float) -> None:
        waiting, self._waiting = self._waiting, []
        for name, start, stop in waiting:
            if stop > now:
                self._waiting.append((name, start, stop))
            elif frames := [(shown, picture) for shown, picture in self._frames if start <= shown <= stop]:
                self._saver.put(name, frames)


def write_clip(path: Path, frames: Frames) -> None:
    """Write frames (square and grey, as the network sees them) with their times as MP4, atomically."""
    times_s, pictures = zip(*frames, strict=True)
    with whole_file(path) as temporary:
        write_video(temporary, pictures, times_s=times_s)

"""A camera, a stream or a file as one thing to read frames from, for as long as it takes.

Each source is decoded in a child process, since a decoder that hangs or dies must not take the detector with it. A
thread here watches over the child (`supervisor.py`); what it receives waits in a short queue:

1. The newest frames win. When the reader is too slow, the oldest waiting frame is dropped, and counted.
2. A file read with pace `fast` is the exception: there the child waits for the reader, and nothing is dropped.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.health import Health, HealthRule
from infdet_deploy.live.sources.supervisor import Supervision, Supervisor
from infdet_deploy.video.resize import Mode, check_request

Pace = Literal["own", "fast"]

# The measured rate is that of so many frames at most, and is given from so few on.
_RATE_FRAMES = 64
_RATE_FROM = 9

# A source slower than a frame a second has no gap between any two of its frames: so many intervals make one.
_GAP_INTERVALS = 3


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        picture: uint8 [size,size], 0–255.
        time: when it was shown, wall clock in Unix seconds; of a file, when it began to play plus the frame's place.
        index: 0, 1, 2, … over the frames that this source delivered.
        gap: more than `gap_s` lies between it and the frame before: the source was down, or frames were dropped.
    """

    picture: NDArray[np.uint8]
    time: float
    index: int
    gap: bool


@dataclass
class SourceStats:
    """What became of a source so far.

    Attributes:
        frames: frames received, those dropped among them.
        dropped: frames dropped because the reader was too slow.
        restarts: how often the child was started again.
        decode_errors: packets that did not decode, frames marked as damaged.
        state: `starting`, `ok`, `frozen`, `black`, `saturated`, `down` or `ended`.
        last_frame_time: when the newest frame was shown, Unix seconds.
        fps: measured frames per second; until enough have come, what was asked for or what the stream says.
        reconnect_s: seconds from the last frame before the latest failure to the first one after it.
        error: why the source failed the last time, in one line.
    """

    frames: int = 0
    dropped: int = 0
    restarts: int = 0
    decode_errors: int = 0
    state: str = "starting"
    last_frame_time: float | None = None
    fps: float | None = None
    reconnect_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Limits:
    """What `open_source` was asked for: frames waiting at most, seconds that make a gap, when pictures are at fault."""

    queue_frames: int
    gap_s: float
    health: HealthRule


class Source:
    """Frames of one camera, stream or file; made by `open_source`, read by one thread, to be closed.

    Attributes:
        name: what the source is called, by default what its address ends with.
        url: its address without a password.
        stats: what became of it so far; changed by another thread while frames come.
    """

    def __init__(self, address: Address, supervisor: Supervisor, name: str, lossless: bool, limits: Limits) -> None:
        self.name = name
        self.url = address.shown
        self.stats = SourceStats(fps=supervisor.request.fps)
        self._supervisor = supervisor
        self._lossless = lossless
        self._limits = limits
        self._health = Health(limits.health)
        self._waiting: deque[tuple[NDArray[np.uint8], float]] = deque()
        self._changed = threading.Condition()
        self._finished = False
        self._closed = False
        self._times: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._delivered = 0
        self._delivered_time: float | None = None
        self._failed_after: float | None = None
        supervisor.start(self)

    @property
    def fps(self) -> float | None:
        """Frames per second, measured or nominal; None until known."""
        return self.stats.fps

    @property
    def pid(self) -> int | None:
        """The decoding child's process id; None while there is none."""
        return self._supervisor.pid

    @property
    def ended(self) -> bool:
        """No frame will come any more: a file was read to its end, or the source closed."""
        with self._changed:
            return self._finished and not self._waiting

    def read(self, timeout: float) -> Frame | None:
        """The next frame, None if none comes within `timeout` seconds or the source has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished, timeout)
            if not self._waiting:
                return None
            picture, shown = self._waiting.popleft()
            self._changed.notify_all()
            before, self._delivered_time = self._delivered_time, shown
            index, self._delivered = self._delivered, self._delivered + 1
        return Frame(picture, shown, index, before is not None and abs(shown - before) > self._gap_s())

    def close(self) -> None:
        """End the child and the thread, at once; frames not yet read are lost."""
        with self._changed:
            self._closed = self._finished = True
            self._waiting.clear()
            self._changed.notify_all()
        self._supervisor.stop()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gap_s(self) -> float:
        return max(self._limits.gap_s, _GAP_INTERVALS / self.stats.fps if self.stats.fps else 0)

    # What the supervisor's thread reports.

    def opened(self, fps: float | None) -> None:
        """The child has opened the source; fps: the rate that it states."""
        with self._changed:
            self.stats.fps = self.stats.fps or fps

    def damaged(self, decode_errors: int) -> None:
        """So many packets or frames were damaged."""
        self.stats.decode_errors += decode_errors

    def received(self, picture: NDArray[np.uint8], same: bool, shown: float) -> None:
        """Take a frame; with a lossless source, wait until there is room for it."""
        stats = self.stats
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: len(self._waiting) < self._limits.queue_frames or self._closed)
            elif len(self._waiting) == self._limits.queue_frames:
                self._waiting.popleft()
                stats.dropped += 1
            if self._closed:
                return
            self._waiting.append((picture, shown))
            stats.frames += 1
            if self._failed_after is not None:
                stats.reconnect_s, self._failed_after = shown - self._failed_after, None
            self._measure(shown)
            stats.state = self._health.update(picture, same, shown)
            stats.last_frame_time = shown
            self._changed.notify_all()

    def failed(self, reason: str) -> None:
        """The child ended or was killed; another one follows."""
        with self._changed:
            self.stats.state, self.stats.error = "down", reason
            self.stats.restarts += 1
            self._times.clear()
            if self._failed_after is None:
                self._failed_after = self.stats.last_frame_time

    def finished(self, reason: str | None) -> None:
        """No other child follows: a file has ended (reason: None) or cannot be read on."""
        with self._changed:
            self.stats.state, self.stats.error = "ended", reason or self.stats.error
            self._finished = True
            self._changed.notify_all()

    def _measure(self, shown: float) -> None:
        if self._times and not 0 < shown - self._times[-1] < self._gap_s():
            self._times.clear()
        self._times.append(shown)
        if len(self._times) >= _RATE_FROM:
            self.stats.fps = (len(self._times) - 1) / (self._times[-1] - self._times[0])


def open_source(
    url: str,
    size: int,
    mode: Mode = "resize",
    name: str | None = None,
    fps: float | None = None,
    *,
    pace: Pace = "own",
    queue_frames: int = 64,
    gap_s: float = 1.0,
    health: HealthRule = HealthRule(),
    supervision: Supervision = Supervision(),
) -> Source:
    """Open a camera, a stream or a file.

    Args:
        url: `rtsp://…`, `http://…` or `https://…` (MJPEG, HLS or any stream libav reads), `v4l2:/dev/videoN`, or the
            path of a file, see `Address`.
        size: side of the pictures in pixels.
        mode: how they become square: `resize` or `crop`.
        name: what to call the source.
        fps: frame rate. It overrules a file's, its timestamps included; a V4L2 camera is asked for it; of other streams
            it is what counts until their rate is measured.
        pace: of files only: `own`, as they were recorded, or `fast`, as quickly as they are read.
        queue_frames: how many frames wait for the reader at most.
        gap_s: a frame that comes longer after its predecessor has its `gap` set.
        health: what makes a picture frozen, black or saturated.
        supervision: how long to wait for frames, and between attempts.

    Returns:
        The source, which is to be closed. Streams and cameras are connected to in the background, again and again.

    Raises:
        VideoError: what can never work: a missing file or device, a file of which no first frame can be read.
        UsageError: an address of an unknown kind; values that make no sense.
    """
    check_request(size, mode)
    if pace not in get_args(Pace):
        raise UsageError(f"unknown pace {pace!r}; expected one of: {', '.join(get_args(Pace))}")
    if fps is not None and not 0 < fps < float("inf"):
        raise UsageError(f"fps is {fps}; expected frames per second, such as 25")
    if queue_frames < 1:
        raise UsageError(f"queue_frames is {queue_frames}; expected a number of frames of at least 1, such as 64")
    address = Address.of(url)
    supervisor = Supervisor(address.request(size, mode, fps, paced=pace == "own"), supervision)
    lossless = address.is_file and pace == "fast"
    source = Source(address, supervisor, name or address.name, lossless, Limits(queue_frames, gap_s, health))
    if address.is_file:
        _first_frame(source, supervision)
    return source


def _first_frame(source: Source, supervision: Supervision) -> None:
    """Wait for a file's first frame, so that what is wrong with the file is said at the start."""
    deadline = time.monotonic() + supervision.start_s + supervision.connect_s
    while not source.stats.frames and time.monotonic() < deadline:
        if source.ended:
            source.close()
            raise VideoError(source.stats.error or f"{source.url}: no frame in this file; expected a video")
        time.sleep(0.01)

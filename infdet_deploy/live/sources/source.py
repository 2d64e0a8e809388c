"""Read frames from a camera, a stream or a file.

Each source is decoded in its own process: a decoder that hangs or dies does not stop the detector. A thread
(`supervisor.py`) watches the process. Frames wait in a short queue: when the reader is too slow, the oldest one is
dropped and counted. Only for a file with pace `fast` the decoder waits for the reader instead.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.health import Health, HealthRule, State
from infdet_deploy.live.sources.supervisor import ReconnectPolicy, Supervisor
from infdet_deploy.text import visible
from infdet_deploy.video.background import Levels
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.recording import check_rate
from infdet_deploy.video.resize import Mode, check_request

Pace = Literal["own", "fast"]

_RATE_FRAMES, _RATE_FROM = 64, 9  # the rate is measured over the latest 9 to 64 frames
_GAP_INTERVALS = 3  # a gap is at least this many frame intervals, for sources slower than a frame a second


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        picture: uint8 [size,size], 0–255.
        time: when it was shown, Unix seconds; in a file, the start of playback plus the frame's position.
        index: 0, 1, 2, … of the frames read from this source.
        gap: it was shown more than `gap_s` after its predecessor: the source was down, or frames were dropped.
    """

    picture: NDArray[np.uint8]
    time: float
    index: int
    gap: bool


@dataclass
class SourceStats:
    """The state of a source and its counters."""

    frames: int = 0  # received, including dropped ones
    dropped: int = 0  # because the reader was too slow
    restarts: int = 0  # of the decoder
    decode_errors: int = 0  # packets that did not decode, and frames marked as damaged
    state: State = "starting"
    last_frame_time: float | None = None  # when the newest frame was shown, Unix seconds
    fps: float | None = None  # measured; until enough frames arrived, the requested or stated rate
    reconnect_s: float | None = None  # from the last frame before the latest failure to the first one after it
    error: str | None = None  # the reason of the latest failure, in one line


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        mode: how pictures become square: `resize` or `crop`.
        levels, frame_rate: as for `read_video`. Levels depend on past frames only, except for a file with pace `fast`.
        trained_fps: as in `Preparation`; of a camera, its stated rate counts.
        invert: warm is dark (black-hot).
        name: name of the source; None: derived from its address.
        fps: frame rate. It replaces a file's rate and timestamps, and is requested from a V4L2 camera; for other
            streams it is used until their rate is measured.
        pace: only for files: `own`, as recorded, or `fast`, as fast as they are read.
        queue_frames: maximum number of frames that wait for the reader.
        gap_s: a longer time between two frames is a gap, in seconds.
        health: when a picture counts as frozen, black or saturated.
        reconnect: how long to wait for frames and between attempts.
    """

    mode: Mode = "resize"
    levels: Levels = "range"
    frame_rate: float | None = None
    trained_fps: float | None = None
    invert: bool = False
    name: str | None = None
    fps: float | None = None
    pace: Pace = "own"
    queue_frames: int = 64
    gap_s: float = 1.0
    health: HealthRule = field(default_factory=HealthRule)
    reconnect: ReconnectPolicy = field(default_factory=ReconnectPolicy)

    def __post_init__(self) -> None:
        check_rate(self.fps)
        check_rate(self.frame_rate)
        if self.pace not in get_args(Pace):
            raise UsageError(f"unknown pace {self.pace!r}; expected one of: {', '.join(get_args(Pace))}")
        if self.queue_frames < 1:
            raise UsageError(f"queue_frames is {self.queue_frames}; expected 1 or more, such as 64")


class Source:
    """Frames of one camera, stream or file, for one reading thread. Made by `open_source`; close it at the end.

    Attributes:
        url: its address without user, password and query.
        stats: its state and counters; another thread changes them while frames arrive.
    """

    def __init__(self, address: Address, supervisor: Supervisor, options: SourceOptions) -> None:
        self.name, self.url = visible(options.name or address.name), address.shown
        self.stats = SourceStats(fps=options.fps)
        self._supervisor, self._options = supervisor, options
        self._lossless = address.kind == "file" and options.pace == "fast"
        self._health = Health(options.health)
        self._waiting: deque[tuple[NDArray[np.uint8], float]] = deque()
        self._changed = threading.Condition()
        self._finished = self._closed = False
        self._times: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._delivered = 0
        self._delivered_time: float | None = None
        self._failed_after: float | None = None  # time of the last frame before a failure
        supervisor.start(self)

    @property
    def fps(self) -> float | None:
        """Frames per second, measured or nominal; None until known."""
        return self.stats.fps

    @property
    def pid(self) -> int | None:
        """The decoder's process id; None while there is none."""
        return self._supervisor.pid

    @property
    def ended(self) -> bool:
        """No more frames will arrive: a file was read to its end, or the source was closed."""
        with self._changed:
            return self._finished and not self._waiting

    def read(self, timeout: float) -> Frame | None:
        """The next frame; None if none arrives within `timeout` seconds or the source has ended."""
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
        """End the decoder and the thread at once; unread frames are lost."""
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
        return max(self._options.gap_s, _GAP_INTERVALS / self.stats.fps if self.stats.fps else 0)

    # The supervisor's thread calls the methods below.

    def opened(self, fps: float | None) -> None:
        """The decoder has opened the source, which states this rate."""
        with self._changed:
            self.stats.fps = self.stats.fps or fps

    def received(self, picture: NDArray[np.uint8], same: bool, shown: float) -> None:
        """Queue a frame; for a lossless source, wait until there is room."""
        stats, longest = self.stats, self._options.queue_frames
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: len(self._waiting) < longest or self._closed)
            elif len(self._waiting) == longest:
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
        """The decoder ended or was killed, and will be restarted."""
        with self._changed:
            self.stats.state, self.stats.error = "down", reason
            self.stats.restarts += 1
            self._times.clear()
            if self._failed_after is None:
                self._failed_after = self.stats.last_frame_time

    def finished(self, reason: str | None) -> None:
        """The decoder will not be restarted: a file has ended (reason: None) or its rest cannot be read."""
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


def open_source(url: str, size: int, options: SourceOptions | None = None) -> Source:
    """Open a camera, a stream or a file.

    Args:
        url: `rtsp://…`, `http://…` or `https://…` (MJPEG, HLS or any stream that libav reads), `v4l2:/dev/videoN`, or
            the path of a file.
        size: side of the pictures in pixels.

    Returns:
        The source. Streams and cameras are connected in the background, with retries.

    Raises:
        VideoError: a missing file or device, a file without a frame that can be read.
        UsageError: an address of an unknown kind, values out of range.
    """
    options = options or SourceOptions()
    check_request(size, options.mode)
    address = Address.of(url)
    preparation = Preparation(
        size, options.mode, options.levels, options.frame_rate, options.trained_fps, options.invert
    )
    request = address.request(preparation, options.fps, paced=options.pace == "own", gap_s=options.gap_s)
    source = Source(address, Supervisor(request, options.reconnect), options)
    deadline = time.monotonic() + options.reconnect.start_s + options.reconnect.connect_s
    while address.kind == "file" and not source.stats.frames and time.monotonic() < deadline:
        if source.ended:
            source.close()
            raise VideoError(source.stats.error or f"{source.url}: no frame in this file; expected a video")
        time.sleep(0.01)
    return source

"""One camera from frames to events, in a thread of its own. All cameras share the compiled stages."""

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.live.events import Event, new_event
from infdet_deploy.live.sinks.clips import ClipRing, clip_name
from infdet_deploy.live.window import Features, Found, Window
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES

if TYPE_CHECKING:
    from infdet_deploy.live.sources.source import Frame, Source

_READ_S = 0.2  # how soon a stop is noticed
_RATE_S = 10.0  # the frame rate told is that of so many seconds
_PAUSE_S = 1.0  # after a failure
_STEPS = 1000  # the latest of which the latency is told


class FeatureStream(Protocol):
    """A stream of the network: see `runtime.stream.FeatureStream`."""

    @property
    def state_bytes(self) -> int: ...

    def push(self, frames: np.ndarray) -> Features: ...

    def flush(self) -> Features: ...


class Camera:
    """Reads a source, pushes its frames through a stream of the network and its features through a window.

    Frames are processed in the order in which they come; when that takes longer than they last, the source drops some
    and counts them. A gap in the source ends a stretch: what has been seen is decided as at a clip's end, and all
    begins anew, since an action cannot be followed across time that nobody saw.

    new_stream, new_window: called for every stretch; emit: called with each event; ring: where clips are saved.
    processed, failures, events: frames, failures of the network, events by class; fps: of the last seconds; steps: how
    many seconds each of the latest steps of the network took, the wait for other cameras' steps among them.
    """

    def __init__(
        self,
        source: "Source",
        new_stream: Callable[[], FeatureStream],
        new_window: Callable[[], Window],
        emit: Callable[[Event], None],
        bundle: str,
        ring: ClipRing | None = None,
    ) -> None:
        self.source, self.name = source, source.name
        self.processed = self.failures = self.suppressed = 0
        self.events: Counter[str] = Counter()
        self.steps: deque[float] = deque(maxlen=_STEPS)
        self._new_stream, self._new_window = new_stream, new_window
        self._emit, self._bundle, self._ring = emit, bundle, ring
        self._stop, self._stopped = threading.Event(), 0.0
        self._rate: deque[tuple[float, int]] = deque()
        self._newest: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._begin()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to decide what it has seen, and to end."""
        self._stopped = time.time()
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def lag_s(self) -> float | None:
        """Seconds from when the newest frame processed was shown until now; None before the first."""
        return None if self._newest is None else time.time() - self._newest

    @property
    def fps(self) -> float:
        """Frames processed a second."""
        rate = list(self._rate)
        if len(rate) < 2 or time.monotonic() - rate[-1][0] > _RATE_S:
            return 0.0
        return (rate[-1][1] - rate[0][1]) / max(rate[-1][0] - rate[0][0], 1e-6)

    @property
    def state_bytes(self) -> int:
        """Memory that the network's state of this camera takes."""
        return self._stream.state_bytes

    def step_s(self, percent: float) -> float | None:
        """The time within which so many of the latest steps were done, in seconds; None before the first."""
        return float(np.percentile(self.steps, percent)) if self.steps else None

    def _run(self) -> None:
        batch: list[Frame] = []
        while (frame := self._next()) is not None:
            if frame.gap:
                self._guarded(self._end_stretch, batch)
                batch = []
                self._begin()
            if self._ring is not None:
                self._ring.add(frame.time, frame.picture)
            batch.append(frame)
            if len(batch) == FRAMES_PER_SNIPPET:
                if not self._guarded(self._push, batch):
                    self._begin()
                    self._stop.wait(_PAUSE_S)
                batch = []
        self._guarded(self._end_stretch, batch)
        if self._ring is not None:
            self._ring.finish()
        self.source.close()

    def _next(self) -> "Frame | None":
        """The next frame; None at the source's end, or when all frames from before the stop have been read."""
        while not self._stop.is_set():
            frame = self.source.read(_READ_S)
            if frame is not None or self.source.ended:
                return frame
        frame = self.source.read(0.0)
        return frame if frame is not None and frame.time <= self._stopped else None

    def _guarded(self, step: "Callable[[list[Frame]], None]", batch: "list[Frame]") -> bool:
        """Whether a step worked; a failure is told and counted, and ends nothing but the stretch."""
        try:
            step(batch)
        except Exception as error:
            self.failures += 1
            say(f"{self.name}: {first_line(error)}; going on with the next frames")
            return False
        return True

    def _begin(self) -> None:
        self._stream, self._window, self._pushed = self._new_stream(), self._new_window(), 0

    def _push(self, batch: "list[Frame]") -> None:
        begun = time.perf_counter()
        features = self._stream.push(np.stack([frame.picture for frame in batch]))
        if any(map(len, features.values())):  # not for frames that only wait for the next step
            self.steps.append(time.perf_counter() - begun)
        self._pushed += len(batch)
        self._give(self._window.push(features, [frame.time for frame in batch], self.source.fps))
        self.processed += len(batch)
        self._newest = batch[-1].time
        now = time.monotonic()
        self._rate.append((now, self.processed))
        while now - self._rate[0][0] > _RATE_S:
            self._rate.popleft()

    def _end_stretch(self, batch: "list[Frame]") -> None:
        if batch:
            self._push(batch)
        if self._pushed >= MIN_FRAMES:
            self._give(self._window.finish(self._stream.flush(), self.source.fps))
        self.suppressed += self._window.suppressed

    def _give(self, found: list[Found]) -> None:
        for one in found:
            event = new_event(one, self.name, self._bundle, time.time())
            if self._ring is not None:
                event = dataclasses.replace(event, clip=clip_name(event))
            self.events[event.label] += 1
            self._emit(event)
            if self._ring is not None:
                self._ring.want(event)

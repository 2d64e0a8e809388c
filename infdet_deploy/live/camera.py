"""One camera from frames to events, in its own thread. All cameras share the compiled stages."""

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.live.clips import ClipBuffer, clip_name
from infdet_deploy.live.events import Event, new_event
from infdet_deploy.live.window import Action, Stretch
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES

if TYPE_CHECKING:
    from infdet_deploy.live.sources.source import Frame, Source
    from infdet_deploy.runtime.incremental import FeatureStream

_READ_S = 0.2  # longest wait for a frame before a stop is noticed
_RATE_S = 10.0  # the frame rate is measured over this time
_PAUSE_S = 1.0  # after a failure
_STEPS = 1000  # number of latest steps whose latency is reported


class Camera:
    """Reads a source, computes features of its frames step by step, and turns them into events.

    Frames are processed in order; when the machine is too slow, the source drops some and counts them. A gap in the
    source resets the state, and open actions are finalised: an action cannot be followed across missing frames.
    """

    def __init__(
        self,
        source: "Source",
        new_features: "Callable[[], FeatureStream]",
        new_stretch: Callable[[], Stretch],
        emit: Callable[[Event], None],
        bundle: str,
        clips: ClipBuffer | None = None,
    ) -> None:
        """new_features, new_stretch: called at the start of each stretch of frames without a gap. emit: called with
        each event. bundle: its name. clips: saves a clip of each event."""
        self.source, self.name = source, source.name
        self.processed = self.failures = 0  # frames that went through the network, failures of the network
        self.suppressed = 0  # runs that repeated an earlier action
        self.events: Counter[str] = Counter()  # by class
        self.steps: deque[float] = deque(maxlen=_STEPS)  # s, including the wait for other cameras' steps
        self._new_features, self._new_stretch = new_features, new_stretch
        self._emit, self._bundle, self._clips = emit, bundle, clips
        self._stop, self._stopped = threading.Event(), 0.0
        self._rate: deque[tuple[float, int]] = deque()
        self._newest: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._begin_stretch()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to process the frames received so far and end."""
        self._stopped = time.time()
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread. Returns whether it has ended."""
        self._thread.join(timeout)
        return not self.running

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def lag_s(self) -> float | None:
        """Seconds since the newest processed frame was shown; None before the first."""
        return None if self._newest is None else time.time() - self._newest

    @property
    def fps(self) -> float:
        """Frames processed a second, over the last 10 seconds."""
        rate = list(self._rate)
        if len(rate) < 2 or time.monotonic() - rate[-1][0] > _RATE_S:
            return 0.0
        return (rate[-1][1] - rate[0][1]) / max(rate[-1][0] - rate[0][0], 1e-6)

    @property
    def state_bytes(self) -> int:
        """Memory of the network's state for this camera."""
        return self._features.state_bytes

    def step_s(self, percent: float) -> float | None:
        """A percentile of the latest steps' duration in seconds; None before the first."""
        return float(np.percentile(self.steps, percent)) if self.steps else None

    def _run(self) -> None:
        batch: list[Frame] = []
        while (frame := self._next_frame()) is not None:
            if frame.gap:
                self._try(self._end_stretch, batch)
                batch = []
                self._begin_stretch()
            if self._clips is not None:
                self._clips.add(frame.time, frame.picture)
            batch.append(frame)
            if len(batch) == FRAMES_PER_SNIPPET:
                if not self._try(self._push, batch):
                    self._begin_stretch()
                    self._stop.wait(_PAUSE_S)
                batch = []
        self._try(self._end_stretch, batch)
        if self._clips is not None:
            self._clips.finish()
        self.source.close()

    def _next_frame(self) -> "Frame | None":
        """The next frame; None at the end of the source, or once all frames from before the stop have been read."""
        while not self._stop.is_set():
            frame = self.source.read(_READ_S)
            if frame is not None or self.source.ended:
                return frame
        frame = self.source.read(0.0)
        return frame if frame is not None and frame.time <= self._stopped else None

    def _try(self, step: "Callable[[list[Frame]], None]", batch: "list[Frame]") -> bool:
        """Returns whether a step succeeded; a failure is reported and counted, and ends only the stretch."""
        try:
            step(batch)
        except Exception as error:
            self.failures += 1
            say(f"{self.name}: {first_line(error)}; continuing with the next frames")
            return False
        return True

    def _begin_stretch(self) -> None:
        self._features, self._stretch, self._pushed = self._new_features(), self._new_stretch(), 0

    def _push(self, batch: "list[Frame]") -> None:
        begun = time.perf_counter()
        features = self._features.push(np.stack([frame.picture for frame in batch]))
        if any(map(len, features.values())):  # else the frames wait for the next step
            self.steps.append(time.perf_counter() - begun)
        self._pushed += len(batch)
        self._emit_events(self._stretch.push(features, [frame.time for frame in batch], self.source.fps))
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
            self._emit_events(self._stretch.finish(self._features.flush(), self.source.fps))
        self.suppressed += self._stretch.suppressed

    def _emit_events(self, actions: list[Action]) -> None:
        for action in actions:
            event = new_event(action, self.name, self._bundle, time.time())
            if self._clips is not None:
                event = dataclasses.replace(event, clip=clip_name(event))
            self.events[event.label] += 1
            self._emit(event)
            if self._clips is not None:
                self._clips.save(event)

"""Cameras, the queue of their events, and sinks: from start to a clean stop."""

import time
from collections.abc import Callable, Sequence

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.clips import ClipSaver
from infdet_deploy.live.delivery import Delivery
from infdet_deploy.live.events import Event
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.base import Sink

FINISH_S, DELIVER_S = 30.0, 10.0  # a stop waits at most this long for the cameras, then for the sinks


class Pipeline:
    """Runs cameras until they end or `stop` is called."""

    def __init__(self, queue: EventQueue | None = None, sinks: Sequence[Sink] = (), clips: ClipSaver | None = None):
        """queue: events that wait for the sinks; None without sinks. clips: writes the clips of events."""
        self.cameras: list[Camera] = []  # add them before `start`; their events go to `emit`
        self.listeners: list[Callable[[Event], None]] = []  # called in the camera's thread; failures are only reported
        self.queue, self.clips = queue, clips
        self.deliveries = [Delivery(queue, sink) for sink in sinks] if queue is not None else []
        if queue is not None:
            self.listeners.append(lambda event: queue.put(event.to_dict()))
        self._states: dict[str, str] = {}

    def emit(self, event: Event) -> None:
        """Send an event to the queue and the listeners."""
        for listener in self.listeners:
            try:
                listener(event)
            except Exception as error:
                say(f"event {event.id}: {first_line(error)}")

    def start(self) -> None:
        for camera in self.cameras:
            camera.start()

    def update(self) -> bool:
        """Report cameras whose state has changed since the last call. Returns whether any camera still runs."""
        for camera in self.cameras:
            stats = camera.source.stats
            before, self._states[camera.name] = self._states.get(camera.name, "starting"), stats.state
            if stats.state != before:
                offline = stats.state in ("down", "ended")
                why = f" ({stats.error})" if offline and stats.error else ""
                say(f"{camera.name}: {stats.state}{why}")
                for delivery in self.deliveries:
                    delivery.sink.camera_available(camera.name, not offline)
        return any(camera.running for camera in self.cameras)

    def stop(self) -> dict[str, int]:
        """Finalise open actions, write clips and deliver queued events, within time limits.

        Returns the number of events that still wait, by sink; empty if there are none.
        """
        for camera in self.cameras:
            camera.stop()
        deadline = time.monotonic() + FINISH_S
        for camera in self.cameras:
            if not camera.join(max(0.0, deadline - time.monotonic())):
                say(f"{camera.name}: did not stop within {FINISH_S:.0f} s")
        for delivery in self.deliveries:
            delivery.begin_close()
        deadline = time.monotonic() + DELIVER_S
        ended = [delivery.close(deadline) for delivery in self.deliveries]
        if self.clips is not None:
            self.clips.close(deadline)
        if self.queue is None:
            return {}
        waiting = {sink: count for sink, count in self.queue.waiting().items() if count}
        if all(ended):
            self.queue.close()
        return waiting

"""Cameras, the events that they give, and the sinks that take them: from start to a clean stop."""

import time
from collections.abc import Callable, Sequence

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.events import Event
from infdet_deploy.live.sinks.clips import ClipSaver
from infdet_deploy.live.sinks.delivery import Delivery, Sink
from infdet_deploy.live.sinks.mqtt import Mqtt
from infdet_deploy.live.sinks.outbox import Outbox

DECIDE_S, DRAIN_S = 30.0, 10.0  # how long a stop waits for the cameras, and then for the sinks


class Watch:
    """Runs cameras until they end or `stop` is called.

    cameras: not yet started; outbox and sinks: where events go; listeners: called with every event at once, in the
    camera's thread. What fails among them is told and ends nothing.
    """

    def __init__(
        self,
        outbox: Outbox | None = None,
        sinks: Sequence[Sink] = (),
        listeners: Sequence[Callable[[Event], None]] = (),
        saver: ClipSaver | None = None,
    ) -> None:
        self.cameras: list[Camera] = []
        self.listeners = list(listeners)
        self.saver, self.outbox, self._sinks = saver, outbox, sinks
        self.deliveries = [Delivery(outbox, sink) for sink in sinks] if outbox is not None else []
        self._told: dict[str, str] = {}

    def emit(self, event: Event) -> None:
        """Send an event on its way; called by cameras."""
        if self.outbox is not None:
            self._listener(lambda one: self.outbox.put(one.to_json()), event)  # type: ignore[union-attr]
        for listener in self.listeners:
            self._listener(listener, event)

    def _listener(self, listener: Callable[[Event], None], event: Event) -> None:
        try:
            listener(event)
        except Exception as error:
            say(f"event {event.id}: {first_line(error)}")

    def start(self) -> None:
        for camera in self.cameras:
            camera.start()

    def look(self) -> bool:
        """Tell what has changed since the last look; whether a camera still runs."""
        for camera in self.cameras:
            stats = camera.source.stats
            before, self._told[camera.name] = self._told.get(camera.name, "starting"), stats.state
            if stats.state != before:
                why = f" ({stats.error})" if stats.state in ("down", "ended") and stats.error else ""
                say(f"{camera.name}: {stats.state}{why}")
                for sink in self._sinks:
                    if isinstance(sink, Mqtt):
                        sink.camera_is(camera.name, stats.state not in ("down", "ended"))
        return any(camera.running for camera in self.cameras)

    def stop(self) -> dict[str, int]:
        """Decide what has been seen, write clips, deliver what waits, within bounds; what still waits, by sink."""
        for camera in self.cameras:
            camera.stop()
        deadline = time.monotonic() + DECIDE_S
        for camera in self.cameras:
            if not camera.join(max(0.0, deadline - time.monotonic())):
                say(f"{camera.name}: did not stop within {DECIDE_S:.0f} s")
        for delivery in self.deliveries:
            delivery.begin_close()
        deadline = time.monotonic() + DRAIN_S
        ended = [delivery.close(deadline) for delivery in self.deliveries]
        if self.saver is not None:
            self.saver.close(deadline)
        if self.outbox is None:
            return {}
        waiting = {sink: count for sink, count in self.outbox.waiting().items() if count}
        if all(ended):
            self.outbox.close()
        return waiting

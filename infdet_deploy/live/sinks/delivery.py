"""Events from the outbox to a sink, again and again until it takes them."""

import random
import threading
import time
from typing import Any, Protocol

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.live.sinks.outbox import Outbox

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class Sink(Protocol):
    """Something that takes events. `name` is what its queue is called: the same after a restart."""

    name: str

    def deliver(self, event: dict[str, Any]) -> None:
        """Return when the event is safe there; raise anything when it may not be. The same event may come again."""

    def close(self) -> None:
        """Give connections back."""


class Delivery:
    """A thread that empties one sink's queue. A sink that fails is tried again later; nothing else waits for it.

    failures: how often a delivery failed; delivered: how many events the sink has taken.
    """

    def __init__(self, outbox: Outbox, sink: Sink, first_wait_s: float = FIRST_WAIT_S) -> None:
        self.sink, self.failures, self.delivered = sink, 0, 0
        self._outbox, self._first_wait_s = outbox, first_wait_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"deliver {sink.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        failed = 0  # in a row
        while True:
            try:
                found = self._outbox.next(self.sink.name, 0.0 if self._closing.is_set() else 1.0)
                if found is None:
                    if self._closing.is_set():
                        return
                    continue
                number, event = found
                self.sink.deliver(event)
                self._outbox.done(self.sink.name, number)
            except Exception as error:
                failed += 1
                self.failures += 1
                if failed == 1:
                    say(f"{self.sink.name}: {first_line(error)}; will be tried again")
                if self._closing.is_set():
                    return  # what waits is on disk
                wait_s = min(LONGEST_WAIT_S, self._first_wait_s * 2 ** min(failed - 1, 10))
                self._closing.wait(wait_s * random.uniform(0.5, 1.0))
                continue
            if failed:
                say(f"{self.sink.name}: takes events again")
            failed, self.delivered = 0, self.delivered + 1

    def begin_close(self) -> None:
        """Deliver what waits, without a pause; stop at the first failure."""
        self._closing.set()
        self._outbox.wake()

    def close(self, deadline: float) -> bool:
        """Wait for that until `deadline` (time.monotonic()); whether the thread has ended."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        ended = not self._thread.is_alive()
        if ended:
            self.sink.close()
        return ended

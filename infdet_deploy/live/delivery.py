"""Deliver events from the queue to a sink, with retries."""

import random
import threading
import time

from infdet_deploy.console import say
from infdet_deploy.errors import first_line
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.base import Sink

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class Delivery:
    """A thread that empties one sink's queue. After a failure it waits and tries again; no other sink waits for it.

    failures: failed deliveries.
    """

    def __init__(self, queue: EventQueue, sink: Sink, first_wait_s: float = FIRST_WAIT_S) -> None:
        self.sink, self.failures = sink, 0
        self._queue, self._first_wait_s = queue, first_wait_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"deliver {sink.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        failed = 0  # in a row
        while True:
            try:
                found = self._queue.next(self.sink.name, 0.0 if self._closing.is_set() else 1.0)
                if found is not None:
                    number, event = found
                    self.sink.deliver(event)
                    self._queue.done(self.sink.name, number)
                    if failed:
                        say(f"{self.sink.name}: accepts events again")
                    failed = 0
                elif self._closing.is_set():
                    return
            except Exception as error:
                failed += 1
                self.failures += 1
                if failed == 1:
                    say(f"{self.sink.name}: {first_line(error)}; retrying")
                if self._closing.is_set():
                    return  # the rest stays on disk
                wait_s = min(LONGEST_WAIT_S, self._first_wait_s * 2 ** min(failed - 1, 10))
                self._closing.wait(wait_s * random.uniform(0.5, 1.0))

    def begin_close(self) -> None:
        """Deliver the queued events without a pause; stop at the first failure."""
        self._closing.set()
        self._queue.wake()

    def close(self, deadline: float) -> bool:
        """Wait for the thread until `deadline` (time.monotonic()). Returns whether it has ended."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            return False
        self.sink.close()
        return True

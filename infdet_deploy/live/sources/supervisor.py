"""A source's child process: started, watched, killed when it hangs, and started again, for ever.

1. A child that gives no first frame within `connect_s`, or no next one within `hang_s`, is killed.
2. The time from one start to the next grows by doubling from `backoff_s` to `backoff_max_s`, up to half of it left out
   at random, so that many cameras behind one switch do not come back in step. An attempt's own time counts: what took
   ten seconds to fail is tried again soon. So a source that is well again is reached within `backoff_max_s`, a child's
   start and the connection.
3. A child that has given frames for longer than the present wait begins the doubling anew.
"""

import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.live.sources.channel import Kind, Message, Request, receive

# A text from the child is one line.
_LONGEST_TEXT = 1 << 16

# A child that does not die when killed hangs in a driver; it is left alone after this long when the source is closed.
_REAP_S = 5.0


@dataclass(frozen=True)
class Supervision:
    """How long to wait, in seconds.

    Attributes:
        connect_s: from a child's start to its first frame.
        hang_s: from one frame to the next.
        backoff_s: from one start to the next, at first.
        backoff_max_s: the same after many failures.
        start_s: until a new process runs at all.
    """

    connect_s: float = 10.0
    hang_s: float = 8.0
    backoff_s: float = 0.5
    backoff_max_s: float = 15.0
    start_s: float = 30.0


class Sink(Protocol):
    """Who is told; see `Source`."""

    def opened(self, fps: float | None) -> None: ...
    def received(self, picture: NDArray[np.uint8], same: bool, shown: float) -> None: ...
    def damaged(self, decode_errors: int) -> None: ...
    def failed(self, reason: str) -> None: ...
    def finished(self, reason: str | None) -> None: ...


class Supervisor:
    """One source's thread, which has at most one child."""

    def __init__(self, request: Request, rules: Supervision, command: tuple[str, ...] | None = None) -> None:
        """command: what to run instead of the decoder, for tests."""
        self.request = request
        self._rules = rules
        self._command = command or (sys.executable, "-P", "-m", "infdet_deploy.live.sources.child")
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._first_frame: float | None = None  # when the present child's came, time.monotonic()

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        child = self._child
        return child.pid if child else None

    def start(self, sink: Sink) -> None:
        """Begin, and report to `sink`, from a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name="source", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the child and the thread."""
        self._stopping.set()
        with self._lock:
            if self._child:
                self._child.kill()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(2 * _REAP_S)

    def _run(self, sink: Sink) -> None:
        wait_s = self._rules.backoff_s
        while not self._stopping.is_set():
            begun = time.monotonic()
            self._first_frame = None
            try:
                reason = self._attempt(sink)
            except Exception as error:  # no processes or descriptors left, say: that too may pass
                reason = " ".join(f"{type(error).__name__}: {error}".split())
            if self._stopping.is_set():
                break
            if self.request.kind == "file":
                sink.finished(reason)
                break
            sink.failed(reason or "the stream ended")
            now = time.monotonic()
            if self._first_frame is not None and now - self._first_frame > wait_s:
                wait_s = self._rules.backoff_s
            shortened = wait_s * random.uniform(0.5, 1)
            self._stopping.wait(max(shortened - (now - begun), self._rules.backoff_s / 2))
            wait_s = min(2 * wait_s, self._rules.backoff_max_s)

    def _attempt(self, sink: Sink) -> str | None:
        """Run one child until it ends or hangs; why, None for a plain end."""
        end = self._start_child()
        if end is None:
            return None
        try:
            return self._listen(end, sink)
        finally:
            end.close()
            self._reap()

    def _start_child(self) -> socket.socket | None:
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            if self._stopping.is_set():
                ours.close()
                return None
            try:
                # Python looks for packages where this process does; the address stays out of the process list.
                self._child = subprocess.Popen(
                    (*self._command, str(theirs.fileno()), str(os.getpid())),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    process_group=0,  # a terminal's Ctrl-C is for the parent, which ends its children
                )
            except BaseException:
                ours.close()
                raise
        return ours

    def _listen(self, end: socket.socket, sink: Sink) -> str | None:
        rules, request, child = self._rules, self.request, self._child
        assert child is not None
        assert child.stdin is not None
        try:
            child.stdin.write(request.to_json().encode() + b"\n")
            child.stdin.close()
        except BrokenPipeError:
            return self._died()
        deadline = time.monotonic() + rules.start_s
        limit = f"the decoder did not start within {rules.start_s:g} s"
        while True:
            try:
                message = receive(end, deadline, max(request.size**2, _LONGEST_TEXT))
            except TimeoutError:
                return limit
            except EOFError:
                return self._died()
            except ValueError as error:
                return f"the decoder sent {error}"
            if message.decode_errors:
                sink.damaged(message.decode_errors)
            if message.kind is Kind.ENDED:
                return None
            if message.kind is Kind.FAILED:
                return message.text
            if message.kind is Kind.OPENED:
                sink.opened(None if math.isnan(message.low) else message.low)
                continue
            if message.kind is Kind.FRAME:
                if self._first_frame is None:
                    self._first_frame = time.monotonic()
                self._deliver(message, sink)
            if message.kind is Kind.STARTED:
                deadline, limit = time.monotonic() + rules.connect_s, f"no frame within {rules.connect_s:g} s"
            elif message.kind in (Kind.FRAME, Kind.ALIVE):
                deadline, limit = time.monotonic() + rules.hang_s, f"no frame for {rules.hang_s:g} s"

    def _deliver(self, message: Message, sink: Sink) -> None:
        if not math.isnan(message.low):
            self.request = replace(self.request, ends=(message.low, message.high))
        size = self.request.size
        sink.received(np.frombuffer(message.body, np.uint8).reshape(size, size), message.same, message.time)

    def _died(self) -> str:
        child = self._child
        assert child is not None
        try:
            code = child.wait(1)
        except subprocess.TimeoutExpired:
            return "the decoder closed its connection"
        return f"the decoder died ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"

    def _reap(self) -> None:
        """Kill the child and wait for its end."""
        child = self._child
        assert child is not None
        child.kill()
        asked = time.monotonic()
        while True:
            try:
                child.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                # Killed, but in a driver's hands: another child would not get the device either.
                if self._stopping.is_set() and time.monotonic() - asked > _REAP_S:
                    break
        if child.stdin:
            child.stdin.close()
        with self._lock:
            self._child = None

"""Run a source's decoder process: start it, kill it when it hangs, restart it without limit.

1. A process that sends no first frame within `connect_s`, or no next frame within `hang_s`, is killed.
2. The time from one start to the next doubles from `backoff_s` to `backoff_max_s`. It is shortened at random by up to
   half, so that many cameras behind one switch do not reconnect in step. The time of the attempt itself counts: after
   ten seconds of connecting, the next attempt follows soon. A source that works again is therefore reached within
   `backoff_max_s` plus the start of a process and the connection.
3. Frames for longer than the current wait reset the wait.
"""

import contextlib
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
from typing import TYPE_CHECKING

import numpy as np

from infdet_deploy.errors import reason
from infdet_deploy.live.sources.messages import Kind, Message, Request, receive, send_request

if TYPE_CHECKING:
    from infdet_deploy.live.sources.source import Source

_DECODER = (sys.executable, "-P", "-m", "infdet_deploy.live.sources.decoder_process")
_LONGEST_TEXT = 1 << 16  # bytes of a failure's reason
_REAP_S = 5.0  # a killed process that hangs in a driver delays the closing of a source by at most this


@dataclass(frozen=True)
class ReconnectPolicy:
    """How long to wait, in seconds.

    Attributes:
        connect_s: from the start of the decoder to its first frame.
        hang_s: from one frame to the next.
        backoff_s: between two starts of the decoder, at first.
        backoff_max_s: between two starts, after many failures.
        start_s: until a new process runs at all.
    """

    connect_s: float = 10.0
    hang_s: float = 8.0
    backoff_s: float = 0.5
    backoff_max_s: float = 15.0
    start_s: float = 30.0


class Supervisor:
    """The thread of one source; it has at most one decoder process."""

    def __init__(self, request: Request, policy: ReconnectPolicy, command: tuple[str, ...] = _DECODER) -> None:
        """command: the decoder; tests replace it."""
        assert request.preparation.size is not None
        self.request, self._size = request, request.preparation.size
        self._policy, self._command = policy, command
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._first_frame: float | None = None  # time.monotonic() of the current process's first frame

    @property
    def pid(self) -> int | None:
        """The decoder's process id; None while there is none."""
        return process.pid if (process := self._process) else None

    def start(self, source: "Source") -> None:
        """Start the thread, which reports frames and failures to `source`."""
        self._thread = threading.Thread(target=self._run, args=(source,), name="source", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process and the thread."""
        self._stopping.set()
        with self._lock:
            if self._process:
                self._process.kill()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(2 * _REAP_S)

    def _run(self, source: "Source") -> None:
        policy = self._policy
        wait_s = policy.backoff_s
        while not self._stopping.is_set():
            begun, self._first_frame = time.monotonic(), None
            try:
                failure = self._attempt(source)
            except Exception as error:  # for example no free processes or descriptors; that may pass
                failure = reason(error)
            if self._stopping.is_set():
                break
            if self.request.kind == "file":
                source.finished(failure)
                break
            source.failed(failure or "the stream ended")
            now = time.monotonic()
            if self._first_frame is not None and now - self._first_frame > wait_s:
                wait_s = policy.backoff_s
            shortened_s = wait_s * random.uniform(0.5, 1)
            self._stopping.wait(max(shortened_s - (now - begun), policy.backoff_s / 2))
            wait_s = min(2 * wait_s, policy.backoff_max_s)

    def _attempt(self, source: "Source") -> str | None:
        """Run one decoder until it ends or hangs. Returns the reason, None for a normal end."""
        ours, theirs = socket.socketpair()
        with ours:
            send_request(ours, self.request)  # not in the command line: others could read a password there
            with theirs, self._lock:
                if self._stopping.is_set():
                    return None
                process = self._process = subprocess.Popen(
                    (*self._command, str(theirs.fileno()), str(os.getpid())),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # it imports from the same places
                    process_group=0,  # the parent handles a terminal's Ctrl-C
                )
            try:
                return self._listen(process, ours, source)
            finally:
                self._reap(process)

    def _listen(self, process: subprocess.Popen[bytes], end: socket.socket, source: "Source") -> str | None:
        policy, longest = self._policy, max(self._size**2, _LONGEST_TEXT)
        begun, limit_s = time.monotonic(), policy.start_s
        too_late = f"the decoder did not start within {limit_s:g} s"
        with end.makefile("rb") as stream:
            while True:
                end.settimeout(max(begun + limit_s - time.monotonic(), 1e-3))
                try:
                    message = receive(stream, longest)
                except TimeoutError:
                    return too_late
                except EOFError:
                    return _death(process)
                except ValueError as error:
                    return f"the decoder sent {error}"
                source.stats.decode_errors += message.decode_errors
                match message.kind:
                    case Kind.ENDED:
                        return None
                    case Kind.FAILED:
                        return message.body.decode(errors="replace")
                    case Kind.STARTED:
                        begun, limit_s = time.monotonic(), policy.connect_s
                        too_late = f"no frame within {limit_s:g} s"
                    case Kind.OPENED:
                        source.opened(None if math.isnan(message.low) else message.low)
                    case Kind.FRAME:
                        self._deliver(message, source)
                if message.kind in (Kind.FRAME, Kind.ALIVE):
                    begun, limit_s = time.monotonic(), policy.hang_s
                    too_late = f"no frame for {limit_s:g} s"

    def _deliver(self, message: Message, source: "Source") -> None:
        self._first_frame = self._first_frame or time.monotonic()
        if not math.isnan(message.low):
            self.request = replace(self.request, range_ends=(message.low, message.high))
        size = self._size
        source.received(np.frombuffer(message.body, np.uint8).reshape(size, size), message.same, message.time)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the process and wait for its end: another process could not open the device before."""
        process.kill()
        killed = time.monotonic()
        while not (self._stopping.is_set() and time.monotonic() - killed > _REAP_S):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
                break
        with self._lock:
            self._process = None


def _death(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return "the decoder closed its connection"
    return f"the decoder died ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"

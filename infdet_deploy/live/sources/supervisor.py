"""Run a source's decoder process: start it, kill it when it hangs, restart it without limit.

1. A process that sends no first frame within `connect_s`, or no next frame within `hang_s`, is killed.
2. The time from one start to the next doubles from `backoff_s` to `backoff_max_s`. Up to half of it is left out at
   random, so that many cameras behind one switch do not reconnect in step. The time of the attempt itself counts: after
   ten seconds of connecting, the next attempt follows soon. A source that works again is therefore reached within
   `backoff_max_s` plus the start of a process and the connection.
3. Frames for longer than the present wait reset the wait.
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

from infdet_deploy.live.sources.messages import Kind, Message, Request, receive

_DECODER = (sys.executable, "-P", "-m", "infdet_deploy.live.sources.decoder_process")

# A text from the decoder is one line.
_LONGEST_TEXT = 1 << 16

# A process that does not die when killed hangs in a driver; closing a source waits for it only this long.
_REAP_S = 5.0


@dataclass(frozen=True)
class ReconnectPolicy:
    """How long to wait, in seconds.

    Attributes:
        connect_s: from the start of the decoder to its first frame.
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


class Receiver(Protocol):
    """Receives frames and failures, in the supervisor's thread; see `Source`."""

    def opened(self, fps: float | None) -> None: ...
    def received(self, picture: NDArray[np.uint8], same: bool, shown: float) -> None: ...
    def damaged(self, decode_errors: int) -> None: ...
    def failed(self, reason: str) -> None: ...
    def finished(self, reason: str | None) -> None: ...


class Supervisor:
    """The thread of one source; it has at most one decoder process."""

    def __init__(self, request: Request, policy: ReconnectPolicy, command: tuple[str, ...] = _DECODER) -> None:
        """command: the decoder; tests replace it."""
        self.request = request
        self._policy = policy
        self._command = command
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._first_frame: float | None = None  # time.monotonic() of the present process's first frame

    @property
    def pid(self) -> int | None:
        """The decoder's process id; None while there is none."""
        process = self._process
        return process.pid if process else None

    def start(self, receiver: Receiver) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(receiver,), name="source", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process and the thread."""
        self._stopping.set()
        with self._lock:
            if self._process:
                self._process.kill()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(2 * _REAP_S)

    def _run(self, receiver: Receiver) -> None:
        wait_s = self._policy.backoff_s
        while not self._stopping.is_set():
            begun = time.monotonic()
            self._first_frame = None
            try:
                reason = self._attempt(receiver)
            except Exception as error:  # for example no free processes or descriptors; that may pass
                reason = " ".join(f"{type(error).__name__}: {error}".split())
            if self._stopping.is_set():
                break
            if self.request.kind == "file":
                receiver.finished(reason)
                break
            receiver.failed(reason or "the stream ended")
            now = time.monotonic()
            if self._first_frame is not None and now - self._first_frame > wait_s:
                wait_s = self._policy.backoff_s
            shortened = wait_s * random.uniform(0.5, 1)
            self._stopping.wait(max(shortened - (now - begun), self._policy.backoff_s / 2))
            wait_s = min(2 * wait_s, self._policy.backoff_max_s)

    def _attempt(self, receiver: Receiver) -> str | None:
        """Run one decoder until it ends or hangs. Returns the reason, None for a normal end."""
        started = self._start_process()
        if started is None:
            return None
        process, end = started
        try:
            assert process.stdin is not None
            try:
                process.stdin.write(self.request.to_json().encode() + b"\n")
                process.stdin.close()
            except BrokenPipeError:
                return _death(process)
            return self._listen(process, end, receiver)
        finally:
            end.close()
            self._reap(process)

    def _start_process(self) -> tuple[subprocess.Popen[bytes], socket.socket] | None:
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            if self._stopping.is_set():
                ours.close()
                return None
            try:
                # The decoder imports from where this process does. The address stays out of the process list.
                self._process = subprocess.Popen(
                    (*self._command, str(theirs.fileno()), str(os.getpid())),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    process_group=0,  # the parent handles a terminal's Ctrl-C
                )
            except BaseException:
                ours.close()
                raise
            return self._process, ours

    def _listen(self, process: subprocess.Popen[bytes], end: socket.socket, receiver: Receiver) -> str | None:
        policy = self._policy
        longest = max(self.request.size**2, _LONGEST_TEXT)
        deadline = time.monotonic() + policy.start_s
        too_late = f"the decoder did not start within {policy.start_s:g} s"
        while True:
            try:
                message = receive(end, deadline, longest)
            except TimeoutError:
                return too_late
            except EOFError:
                return _death(process)
            except ValueError as error:
                return f"the decoder sent {error}"
            if message.decode_errors:
                receiver.damaged(message.decode_errors)
            match message.kind:
                case Kind.ENDED:
                    return None
                case Kind.FAILED:
                    return message.body.decode(errors="replace")
                case Kind.STARTED:
                    deadline, too_late = time.monotonic() + policy.connect_s, f"no frame within {policy.connect_s:g} s"
                case Kind.OPENED:
                    receiver.opened(None if math.isnan(message.low) else message.low)
                case Kind.FRAME:
                    self._deliver(message, receiver)
            if message.kind in (Kind.FRAME, Kind.ALIVE):
                deadline, too_late = time.monotonic() + policy.hang_s, f"no frame for {policy.hang_s:g} s"

    def _deliver(self, message: Message, receiver: Receiver) -> None:
        if self._first_frame is None:
            self._first_frame = time.monotonic()
        if not math.isnan(message.low):
            self.request = replace(self.request, range_ends=(message.low, message.high))
        size = self.request.size
        receiver.received(np.frombuffer(message.body, np.uint8).reshape(size, size), message.same, message.time)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the process and wait for its end."""
        process.kill()
        killed = time.monotonic()
        while True:
            try:
                process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                # It hangs in a driver: another process could not open the device either.
                if self._stopping.is_set() and time.monotonic() - killed > _REAP_S:
                    break
        if process.stdin:
            process.stdin.close()
        with self._lock:
            self._process = None


def _death(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return "the decoder closed its connection"
    return f"the decoder died ({signal.Signals(-code).name if code < 0 else f'exit status {code}'})"

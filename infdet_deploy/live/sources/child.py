"""The process that decodes one source, with the request on stdin:
`python -m infdet_deploy.live.sources.child DESCRIPTOR PARENT`.

It frees its supervisor of whatever libav does: it may hang, crash or leak here, and is killed and started again. It
never outlives its parent.
"""

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import one_line
from infdet_deploy.live.sources.channel import Kind, Message, Request, send
from infdet_deploy.live.sources.reading import play
from infdet_deploy.video.causal_range import CausalRange
from infdet_deploy.video.resize import resize

_PR_SET_PDEATHSIG = 1

# Damage that gives no frames is told at most this often.
_TELL_S = 1.0


def main() -> None:
    """Decode until the source ends or fails, or the parent is gone."""
    descriptor, parent = map(int, sys.argv[1:])
    _die_with(parent)
    request = Request.from_json(sys.stdin.readline())
    av.logging.set_level(av.logging.PANIC)
    with socket.socket(fileno=descriptor) as end:
        outlet = Outlet(end, request)
        try:
            outlet.say(Kind.STARTED)
            play(request, outlet)
            outlet.say(Kind.ENDED)
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed by the parent
        except Exception as error:
            outlet.say(Kind.FAILED, _reason(request, error))


class Outlet:
    """Where frames go: each made a square grey picture and sent."""

    def __init__(self, end: socket.socket, request: Request) -> None:
        self._end = end
        self._request = request
        self._range = CausalRange(ends=request.ends)
        self._before: NDArray[Any] | None = None
        self._decode_errors = 0
        self._told = 0.0

    def opened(self, fps: float | None) -> None:
        """The source is open; fps: the frame rate that it states."""
        self._send(Message(Kind.OPENED, low=fps or float("nan")))

    def frame(self, raw: NDArray[Any], shown: Callable[[], float]) -> None:
        """Send one frame, uint8 or uint16 [H,W]; shown() tells its time, and may wait for it."""
        small = resize(raw, self._request.size, self._request.mode)  # type: ignore[arg-type]
        same = self._before is not None and np.array_equal(small, self._before)
        self._before = small
        moment = shown()
        low = high = float("nan")
        if small.dtype == np.uint16:
            self._range.update(raw, moment)
            small = self._range.apply(small)
            low, high = self._range.ends or (low, high)
        self._send(Message(Kind.FRAME, same, time=moment, low=low, high=high, body=small.tobytes()))

    def damaged(self) -> None:
        """A packet that does not decode, or a frame marked as damaged."""
        self._decode_errors += 1
        if time.monotonic() - self._told > _TELL_S:
            self.say(Kind.DAMAGED)

    def alive(self) -> None:
        """The next frame's time has not come."""
        self.say(Kind.ALIVE)

    def say(self, kind: Kind, line: str = "") -> None:
        """Send what is no frame."""
        self._send(Message(kind, body=line.encode()))

    def _send(self, message: Message) -> None:
        errors, self._decode_errors = self._decode_errors, 0
        self._told = time.monotonic()
        send(self._end, Message(**(vars(message) | {"decode_errors": errors})))


def _die_with(parent: int) -> None:
    """Have the system end this process when its parent ends, however that happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act upon
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _reason(request: Request, error: Exception) -> str:
    if isinstance(error, av.FFmpegError):
        return error.strerror or type(error).__name__  # its text would name the address, password included
    line = one_line(error) or f"{type(error).__name__}: {error}"
    return " ".join(line.split())


if __name__ == "__main__":
    main()

"""The process that decodes one source: `python -m infdet_deploy.live.sources.decoder_process DESCRIPTOR PARENT`.

DESCRIPTOR: its end of the socket. PARENT: the supervisor's process id.

libav may hang, crash or leak: here it harms nothing, and the supervisor kills and restarts the process. It never
outlives its parent.
"""

import math
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import one_line
from infdet_deploy.live.sources.decoding import decode
from infdet_deploy.live.sources.messages import Kind, Message, Request, receive_request, send
from infdet_deploy.processes import end_with
from infdet_deploy.video.background import BackgroundLevels
from infdet_deploy.video.causal_range import CausalRange
from infdet_deploy.video.resampling import Resampler
from infdet_deploy.video.resize import resize
from infdet_deploy.video.scene import Scene
from infdet_deploy.video.timeline import Timeline

_NO_RANGE = (float("nan"), float("nan"))
_REPORT_S = 1.0  # damage without frames is reported at most this often


def main() -> None:
    """Decode until the source ends or fails, or the parent has ended."""
    descriptor, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    end_with(parent)
    av.logging.set_level(av.logging.PANIC)
    with socket.socket(fileno=descriptor) as end:
        request = receive_request(end)
        sender = FrameSender(end, request)
        try:
            sender.send(Message(Kind.STARTED))
            decode(request, sender)
            sender.finish()
            sender.send(Message(Kind.ENDED))
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed by the parent
        except Exception as error:
            sender.send(Message(Kind.FAILED, body=_reason(error).encode()))


class FrameSender:
    """Makes the network's frames from a source's pictures and sends them to the supervisor."""

    def __init__(self, end: socket.socket, request: Request) -> None:
        self._end, self._request = end, request
        self._range = CausalRange(ends=request.range_ends)
        self._scene, self._stretch = Scene(ahead=False), 0
        is_live = request.paced or request.kind != "file"
        self._background = BackgroundLevels(is_live) if request.preparation.levels == "background" else None
        self._rate = request.preparation.frame_rate
        self._resampler: Resampler | None = None
        self._last = -math.inf
        self._before: NDArray[Any] | None = None
        self._decode_errors, self._reported = 0, 0.0

    def opened(self, fps: float | None, timeline: Timeline | None = None) -> None:
        """The source is open and states this frame rate. timeline: of a file."""
        steps = self._request.preparation
        self._rate = steps.resampled_rate(fps) if timeline is None else steps.resampled(timeline)
        self.send(Message(Kind.OPENED, low=self._rate or fps or float("nan")))

    def frame(self, raw: NDArray[Any], shown: Callable[[], float]) -> None:
        """Send one frame, uint8 or uint16 [H,W]. shown() returns its time, and may wait for it."""
        steps = self._request.preparation
        assert steps.size is not None
        moment, ends = shown(), _NO_RANGE
        raw = steps.upright(raw)
        if raw.dtype == np.uint16 and self._background is None:
            raw = self._of_scene(raw, moment)
        small = resize(raw, steps.size, steps.mode)
        same = self._before is not None and np.array_equal(small, self._before)
        self._before = small
        if self._background is not None:
            ready = self._background.push(small, moment)
        elif small.dtype == np.uint16:
            ready, ends = [(self._range.apply(small), moment)], self._range.ends or _NO_RANGE
        else:
            ready = [(small, moment)]
        self._send_frames(ready, same, ends)
        if not ready and time.monotonic() - self._reported > _REPORT_S:
            self.alive()

    def _of_scene(self, raw: NDArray[np.uint16], moment: float) -> NDArray[np.uint16]:
        """The frame, or the last one of the scene, with the range updated."""
        (frame,) = self._scene.push(raw, moment)
        if frame.stretch != self._stretch:
            self._range, self._stretch = CausalRange(), frame.stretch
        if not frame.held:
            self._range.update(frame.pixels, moment)
        return frame.pixels

    def finish(self) -> None:
        """Send what is still held, at the end of the source."""
        if self._background is not None:
            self._send_frames(self._background.finish(), False, _NO_RANGE)

    def _send_frames(
        self, frames: list[tuple[NDArray[np.uint8], float]], same: bool, ends: tuple[float, float]
    ) -> None:
        """Send frames with their times, interpolated to the network's rate; not between frames of two stretches."""
        rate = self._rate
        for frame, moment in frames:
            if rate is not None and (self._resampler is None or not 0 <= moment - self._last <= self._request.gap_s):
                self._resampler = Resampler(rate)
            self._last = moment
            for picture, shown in [(frame, moment)] if self._resampler is None else self._resampler.push(frame, moment):
                self.send(Message(Kind.FRAME, same, time=shown, low=ends[0], high=ends[1], body=picture.tobytes()))

    def damaged(self) -> None:
        """Count a packet that does not decode, or a frame marked as damaged."""
        self._decode_errors += 1
        if time.monotonic() - self._reported > _REPORT_S:
            self.send(Message(Kind.DAMAGED))

    def alive(self) -> None:
        """The next frame is decoded and waits for its time."""
        self.send(Message(Kind.ALIVE))

    def send(self, message: Message) -> None:
        """Send a message with the decode errors since the last one; OSError once the supervisor is gone."""
        errors, self._decode_errors = self._decode_errors, 0
        self._reported = time.monotonic()
        send(self._end, replace(message, decode_errors=errors))


def _reason(error: Exception) -> str:
    if isinstance(error, av.FFmpegError):
        return error.strerror or type(error).__name__  # its text would contain the address with the password
    line = one_line(error) or f"{type(error).__name__}: {error}"
    return " ".join(line.split())


if __name__ == "__main__":
    main()

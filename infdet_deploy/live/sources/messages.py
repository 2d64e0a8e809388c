"""The protocol between a supervisor and its decoder process, over a socket: one request, then messages back.

The request is a line of JSON. A message is a header of fixed size (kind, flags, numbers), then `length` bytes: the
picture of a frame, row by row, or the text of a failure. A socket rather than shared memory: a frame is 50 kB, and the
system frees a socket however both ends die.
"""

import json
import socket
import struct
import time
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Literal

from infdet_deploy.config import from_dict
from infdet_deploy.video.resize import Mode

# kind, same, decode_errors, time, low, high, length of the body
_HEADER = struct.Struct("<B?IdddI")


class Kind(IntEnum):
    """The kind of a message."""

    STARTED = 1  # the process runs and opens its source
    OPENED = 2  # low: the stated rate in frames per second, NaN if there is none
    FRAME = 3  # low, high: the range of a 16-bit camera, else NaN
    ALIVE = 4  # the next frame is decoded and waits for its time
    DAMAGED = 5  # only decode errors since the last message
    ENDED = 6
    FAILED = 7  # body: the reason


@dataclass(frozen=True)
class Request:
    """What to decode.

    Attributes:
        kind: `stream`, `camera` or `file`.
        target: what libav opens.
        options: libav's options.
        size: side of the pictures in pixels.
        mode: `resize` or `crop`.
        fps: the caller's frame rate.
        paced: play a file at its own pace.
        range_ends: the range of a 16-bit camera before the process was restarted.
    """

    kind: Literal["stream", "camera", "file"]
    target: str
    options: dict[str, str]
    size: int
    mode: Mode
    fps: float | None
    paced: bool
    range_ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Message:
    """A message; which fields have a meaning depends on its kind.

    Attributes:
        same: the frame equals its predecessor.
        decode_errors: since the last message.
        time: when the frame was shown, Unix seconds.
    """

    kind: Kind
    same: bool = False
    decode_errors: int = 0
    time: float = 0.0
    low: float = 0.0
    high: float = 0.0
    body: bytes | bytearray = b""


def send_request(end: socket.socket, request: Request) -> None:
    """Send a request; it waits in the socket until the decoder has started."""
    end.sendall(json.dumps(asdict(request)).encode() + b"\n")


def receive_request(end: socket.socket) -> Request:
    with end.makefile() as lines:
        return from_dict(Request, json.loads(lines.readline()))


def send(end: socket.socket, message: Message) -> None:
    """Send a message; OSError once the other end is gone."""
    m = message
    end.sendall(_HEADER.pack(m.kind, m.same, m.decode_errors, m.time, m.low, m.high, len(m.body)) + m.body)


def receive(end: socket.socket, deadline: float, longest: int) -> Message:
    """The next message.

    Raises TimeoutError once `time.monotonic()` reaches `deadline`, EOFError when the other end is gone, ValueError for
    anything that is not a message or is longer than `longest` bytes.
    """
    header = _HEADER.unpack(_receive_bytes(end, _HEADER.size, deadline))
    kind, same, decode_errors, moment, low, high, length = header
    if length > longest:
        raise ValueError(f"a message of {length} bytes")
    return Message(Kind(kind), same, decode_errors, moment, low, high, _receive_bytes(end, length, deadline))


def _receive_bytes(end: socket.socket, count: int, deadline: float) -> bytearray:
    body = bytearray(count)
    memory = memoryview(body)
    while memory:
        end.settimeout(max(deadline - time.monotonic(), 1e-3))
        try:
            received = end.recv_into(memory)
        except TimeoutError:
            if time.monotonic() < deadline:
                continue
            raise
        except ConnectionError:
            received = 0
        if not received:
            raise EOFError
        memory = memory[received:]
    return body

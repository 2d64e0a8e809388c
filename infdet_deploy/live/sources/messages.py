"""The protocol between a supervisor and its decoder process, over a socket: one request, then messages back.

The request is a line of JSON. A message is a header of fixed size (kind, flags, numbers), then `length` bytes: the
picture of a frame, row by row, or the text of a failure. A socket rather than shared memory: a frame is 50 kB, and the
system frees a socket however both ends die.
"""

import json
import socket
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum
from io import BufferedReader
from typing import Literal

from infdet_deploy.config import from_dict
from infdet_deploy.video.preparation import Preparation

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
    """What to decode."""

    kind: Literal["stream", "camera", "file"]
    target: str  # what libav opens
    options: dict[str, str]  # libav's
    preparation: Preparation  # of the pictures; its size is set
    fps: float | None  # the caller's frame rate
    paced: bool  # play a file at its own pace
    gap_s: float  # no frames are interpolated between frames that lie further apart
    range_ends: tuple[float, float] | None = None  # of a 16-bit camera, before the process was restarted


@dataclass(frozen=True)
class Message:
    """A message; which fields have a meaning depends on its kind."""

    kind: Kind
    same: bool = False  # the frame equals its predecessor
    decode_errors: int = 0  # since the last message
    time: float = 0.0  # when the frame was shown, Unix seconds
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


def receive(stream: BufferedReader, longest: int) -> Message:
    """The next message from a socket's `makefile("rb")`.

    Raises TimeoutError after the socket's timeout, after which `stream` cannot be used, EOFError when the other end is
    gone, ValueError for anything that is not a message or is longer than `longest` bytes.
    """
    kind, same, errors, moment, low, high, length = _HEADER.unpack(_receive_bytes(stream, _HEADER.size))
    if length > longest:
        raise ValueError(f"a message of {length} bytes")
    return Message(Kind(kind), same, errors, moment, low, high, _receive_bytes(stream, length))


def _receive_bytes(stream: BufferedReader, count: int) -> bytearray:
    body = bytearray(count)
    try:
        received = stream.readinto(body)
    except ConnectionError:
        received = 0
    if received < count:
        raise EOFError
    return body

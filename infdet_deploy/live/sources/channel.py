"""What passes between a source's child process and its supervisor: one request, then messages over a socket.

A message is a head of fixed size (kind, flags, numbers), then `length` bytes: the picture of a frame, row by row, or
the text of a failure. A socket and no shared memory: a frame is 50 kB, and the system takes a socket back however both
ends die.
"""

import json
import socket
import struct
import time
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Literal

# kind, same as before, decode errors since the last message, time, the range's two ends or the rate, length
_HEAD = struct.Struct("<B?IdddI")


class Kind(IntEnum):
    """What a message says."""

    STARTED = 1  # the child runs and opens its source
    OPENED = 2  # low: the nominal rate in frames per second, NaN if the source does not say
    FRAME = 3
    ALIVE = 4  # the next frame is there, its time has not come
    DAMAGED = 5  # nothing but decode errors since the last message
    ENDED = 6
    FAILED = 7  # text: why


@dataclass(frozen=True)
class Request:
    """What the child is to do.

    Attributes:
        kind: `stream`, `camera` or `file`.
        target: what libav opens.
        options: libav's.
        size: side of the pictures in pixels.
        mode: `resize` or `crop`.
        fps: the caller's frame rate.
        paced: play a file at its own pace.
        ends: the counts that became 0 and 255 before the child was started again, of a 16-bit camera.
    """

    kind: Literal["stream", "camera", "file"]
    target: str
    options: dict[str, str]
    size: int
    mode: str
    fps: float | None
    paced: bool
    ends: tuple[float, float] | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Request":
        """What `to_json` wrote."""
        values = json.loads(line)
        return cls(**values | {"ends": tuple(values["ends"]) if values["ends"] else None})


@dataclass(frozen=True)
class Message:
    """A message received; which fields mean something follows from its kind."""

    kind: Kind
    same: bool = False
    decode_errors: int = 0
    time: float = 0.0
    low: float = 0.0
    high: float = 0.0
    body: bytes | bytearray = b""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")


def send(end: socket.socket, message: Message) -> None:
    """Send a message; OSError once the other end is gone."""
    head = _HEAD.pack(
        message.kind, message.same, message.decode_errors, message.time, message.low, message.high, len(message.body)
    )
    end.sendall(head + message.body)


def receive(end: socket.socket, deadline: float, longest: int) -> Message:
    """The next message.

    Raises TimeoutError once `time.monotonic()` reaches `deadline`, EOFError when the other end is gone, ValueError for
    what is no message or longer than `longest` bytes.
    """
    head = bytearray(_HEAD.size)
    _fill(end, memoryview(head), deadline)
    kind, same, decode_errors, moment, low, high, length = _HEAD.unpack(head)
    if length > longest:
        raise ValueError(f"a message of {length} bytes")
    body = bytearray(length)
    _fill(end, memoryview(body), deadline)
    return Message(Kind(kind), same, decode_errors, moment, low, high, body)


def _fill(end: socket.socket, memory: memoryview, deadline: float) -> None:
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

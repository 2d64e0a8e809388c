"""Decoders that go wrong in the ways that libav does not show on request: `python -m tests.live.double KIND …`."""

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.live import Source
from infdet_deploy.live.sources import child
from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.channel import Kind, Message, Request, send
from infdet_deploy.live.sources.health import HealthRule
from infdet_deploy.live.sources.source import Limits
from infdet_deploy.live.sources.supervisor import Supervision, Supervisor

# Frames that a double shows before it goes wrong.
FRAMES = 5


def open_double(kind: str, target: str = "double", is_file: bool = False, **supervision: float) -> Source:
    """A source of 8×8 pictures, decoded by the double of this kind."""
    request = Request("file" if is_file else "stream", target, {}, 8, "resize", None, False)
    command = (sys.executable, "-m", "tests.live.double", kind)
    supervisor = Supervisor(request, Supervision(**supervision), command)
    address = Address(request.kind, target, target, kind)
    return Source(address, supervisor, kind, is_file, Limits(64, 1.0, HealthRule()))


def main() -> None:
    """Send a few frames as `infdet_deploy.live.sources.child` would, then do what the name says."""
    kind = sys.argv.pop(1)
    if kind == "leaking":
        _leak()
        child.main()
        return
    request = Request.from_json(sys.stdin.readline())
    end = socket.socket(fileno=int(sys.argv[1]))
    if kind == "mute":
        time.sleep(1000)
    send(end, Message(Kind.STARTED))
    if kind == "damaged":
        while True:
            time.sleep(0.05)
            send(end, Message(Kind.DAMAGED, decode_errors=1))
    for index in range(FRAMES):
        picture = np.full((request.size, request.size), index + 100, np.uint8)
        send(end, Message(Kind.FRAME, time=time.time(), low=1000.0, high=2000.0, body=picture.tobytes()))
    if kind == "hanging":
        time.sleep(1000)
    if kind == "crashing":
        os.abort()
    if kind == "babbling":
        end.sendall(b"\xff" * 1000)
        time.sleep(1000)
    if kind == "remembering":
        send(end, Message(Kind.FAILED, body=f"the range was {request.ends}".encode()))


def _leak() -> None:
    kept: list[Any] = []
    plain = child.Outlet.frame

    def frame(self: Any, raw: Any, shown: Any) -> None:
        kept.append(np.ones(1000, np.uint8))
        plain(self, raw, shown)

    child.Outlet.frame = frame  # type: ignore[method-assign]


def write_frames(path: Path, count: int, side: int = 16) -> Path:
    """A file of `count` raw grey frames, `side`×`side`, no two in a row alike."""
    pictures = np.random.default_rng(0).integers(0, 256, (50, side, side), np.uint8)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{side} H{side} F25:1 Ip A1:1 Cmono\n".encode())
        for index in range(count):
            file.write(b"FRAME\n" + pictures[index % 50].tobytes())
    return path


if __name__ == "__main__":
    main()

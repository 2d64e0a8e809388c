"""Decoders that fail in ways that libav does not on request: `python -m tests.live.sources.broken_decoder KIND …`."""

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.live.sources import decoder_process
from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.messages import Kind, Message, Request, receive_request, send
from infdet_deploy.live.sources.source import Source, SourceOptions
from infdet_deploy.live.sources.supervisor import ReconnectPolicy, Supervisor
from infdet_deploy.video.preparation import Preparation

# Frames that it sends before it fails.
FRAMES = 5


def open_broken(kind: str, target: str = "broken", is_file: bool = False, **reconnect: float) -> Source:
    """A source of 8×8 pictures whose decoder fails in this way."""
    request = Request("file" if is_file else "stream", target, {}, Preparation(8), None, False, 1.0)
    command = (sys.executable, "-m", "tests.live.sources.broken_decoder", kind)
    supervisor = Supervisor(request, ReconnectPolicy(**reconnect), command)
    address = Address(request.kind, target, target, kind)
    return Source(address, supervisor, SourceOptions(pace="fast"))


def main() -> None:
    """Send a few frames as `decoder_process` would, then fail as the kind says."""
    kind = sys.argv.pop(1)
    if kind == "leaking":
        _leak()
        decoder_process.main()
        return
    end = socket.socket(fileno=int(sys.argv[1]))
    request = receive_request(end)
    if kind == "mute":
        time.sleep(1000)
    send(end, Message(Kind.STARTED))
    if kind == "damaged":
        while True:
            time.sleep(0.05)
            send(end, Message(Kind.DAMAGED, decode_errors=1))
    for index in range(FRAMES):
        picture = np.full((8, 8), index + 100, np.uint8)
        send(end, Message(Kind.FRAME, time=time.time(), low=1000.0, high=2000.0, body=picture.tobytes()))
    if kind == "hanging":
        time.sleep(1000)
    if kind == "crashing":
        os.abort()
    if kind == "babbling":
        end.sendall(b"\xff" * 1000)
        time.sleep(1000)
    if kind == "remembering":
        send(end, Message(Kind.FAILED, body=f"the range was {request.range_ends}".encode()))


def _leak() -> None:
    kept: list[Any] = []
    plain = decoder_process.FrameSender.frame

    def frame(self: Any, raw: Any, shown: Any) -> None:
        kept.append(np.ones(1000, np.uint8))
        plain(self, raw, shown)

    decoder_process.FrameSender.frame = frame  # type: ignore[method-assign]


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

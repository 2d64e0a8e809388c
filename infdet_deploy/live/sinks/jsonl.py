"""Events as JSON, one a line: in a file, each exactly once, or on standard output."""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infdet_deploy.live.events import Event
from infdet_deploy.live.sinks.base import Sink

_LONGEST_LINE = 1 << 16  # bytes, far more than an event needs


def line_of(event: dict[str, Any]) -> bytes:
    # a class that is not UTF-8 becomes JSON's own escape
    return json.dumps(event, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace") + b"\n"


class JsonLinesFile(Sink):
    """Appends events to a file, each exactly once.

    Each line is written in one piece and synced. A partial line of a killed process is cut off before the next line is
    written, and an event that is already the last line is not repeated. The file is opened for each event, so that
    logrotate may move it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self.name = f"file {self.path}"
        with self._open() as descriptor:
            last_line(descriptor)

    def deliver(self, event: dict[str, Any]) -> None:
        line = line_of(event)
        with self._open() as descriptor:
            if last_line(descriptor) == line:
                return  # the process was killed after writing it
            try:
                written = os.write(descriptor, line)
                if written != len(line):
                    raise OSError(f"only {written} of {len(line)} bytes could be written")
            except OSError:
                last_line(descriptor)
                raise
            os.fsync(descriptor)

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """The file, open to append and locked."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if new:
                folder = os.open(self.path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def last_line(descriptor: int) -> bytes:
    """The last whole line of a file, with its newline; a partial line after it is cut off."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * _LONGEST_LINE)
    tail = os.pread(descriptor, size - begin, begin)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(descriptor, begin + whole)
        os.fsync(descriptor)
    return tail[tail.rfind(b"\n", 0, max(whole - 1, 0)) + 1 : whole]


def print_event(event: Event) -> None:
    """Print an event. Once standard output is closed, print no more."""
    try:
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        sys.stdout.write(line_of(event.to_dict()).decode() if unicode else f"{json.dumps(event.to_dict())}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python's own flush at exit must not fail either

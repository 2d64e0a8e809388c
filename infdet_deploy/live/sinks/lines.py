"""Events as JSON, one a line: appended whole, to a file or to stdout."""

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

from infdet_deploy.live.events import Event

_LONGEST_LINE = 1 << 16  # bytes, far more than an event has


def line_of(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"


class LinesFile:
    """A file of events, each in it exactly once.

    Every line is written in one piece and synced. What a killed process left of a line is cut off before the next one
    is written, and a last line that is there already is not written again. The file is opened anew for every event, so
    it may be moved away at any time (logrotate).
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
                return  # killed between writing and saying so
            try:
                written = os.write(descriptor, line)
                if written != len(line):
                    raise OSError(f"only {written} of {len(line)} bytes could be written")
            except OSError:
                last_line(descriptor)
                raise
            os.fsync(descriptor)

    def close(self) -> None:
        pass

    def _open(self) -> "_Opened":
        return _Opened(self.path)


class _Opened:
    """The file, open to append and locked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = not self._path.exists()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if new:
            folder = os.open(self._path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def last_line(descriptor: int) -> bytes:
    """The last whole line of a file, with its newline; what stands after it, the half of a line, is cut off."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * _LONGEST_LINE)
    tail = os.pread(descriptor, size - begin, begin)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(descriptor, begin + whole)
        os.fsync(descriptor)
    return tail[tail.rfind(b"\n", 0, max(whole - 1, 0)) + 1 : whole]


class Stdout:
    """Events on standard output. Where nobody reads it any more, it is left alone."""

    def __init__(self) -> None:
        self._open = True

    def event(self, event: Event) -> None:
        """Print an event."""
        if not self._open:
            return
        try:
            sys.stdout.write(line_of(event.to_json()).decode())
            sys.stdout.flush()
        except (OSError, ValueError):
            self._open = False
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that Python's own flush at the end does not fail

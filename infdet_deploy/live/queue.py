"""A queue of events on disk, so that none is lost when a server or the power is down.

An event is stored before any sink sees it, and leaves a sink's queue only when that sink has delivered it. If the
process is killed in between, the event is delivered again, with the same id.
"""

import json
import sqlite3
import threading
from collections import deque
from pathlib import Path
from typing import Any

from infdet_deploy.console import say
from infdet_deploy.errors import InfdetError, UsageError

_IN_MEMORY = 10_000  # events kept in memory while the disk cannot be written


class EventQueue:
    """One file with a queue for each sink, oldest first. Any thread may call it.

    sinks: names of the sinks that receive events.
    Raises UsageError when another process uses the file, InfdetError when it cannot be opened.
    """

    def __init__(self, path: Path | str, sinks: tuple[str, ...]) -> None:
        self.path, self.sinks = Path(path), sinks
        self._changed = threading.Condition()
        self._unsaved: deque[dict[str, Any]] = deque(maxlen=_IN_MEMORY)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=0, check_same_thread=False)
            for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
                self._db.execute(f"PRAGMA {setting}")
            with self._db:  # a transaction
                self._db.execute("BEGIN EXCLUSIVE")
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, id TEXT UNIQUE, event TEXT)"
                )
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS waiting (sink TEXT, number INTEGER, PRIMARY KEY (sink, number))"
                )
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UsageError(f"{path} is in use by another `watch`; give this one its own --queue FILE") from None
            raise InfdetError(f"{path}: {error}; name a writable file with --queue") from None
        except sqlite3.DatabaseError as error:
            raise InfdetError(f"{path} is not a queue of events ({error}); name another file with --queue") from None

    def put(self, event: dict[str, Any]) -> None:
        """Queue an event for every sink; in memory until the disk can be written."""
        with self._changed:
            self._unsaved.append(event)
            self._save()
            self._changed.notify_all()

    def _save(self) -> None:
        try:
            while self._unsaved:
                event = self._unsaved[0]
                with self._db:
                    cursor = self._db.execute(
                        "INSERT OR IGNORE INTO events (id, event) VALUES (?, ?)", (event["id"], json.dumps(event))
                    )
                    if cursor.rowcount:  # else it is queued already
                        rows = [(sink, cursor.lastrowid) for sink in self.sinks]
                        self._db.executemany("INSERT INTO waiting VALUES (?, ?)", rows)
                self._unsaved.popleft()
        except sqlite3.Error as error:
            say(f"{self.path}: {error}; {len(self._unsaved)} events wait in memory")

    def next(self, sink: str, timeout: float) -> tuple[int, dict[str, Any]] | None:
        """Number and content of the oldest event that waits for a sink; None if there is none within `timeout` s."""
        with self._changed:
            found = self._oldest(sink)
            if found is None:
                self._changed.wait(timeout)
                self._save()
                found = self._oldest(sink)
            return found

    def _oldest(self, sink: str) -> tuple[int, dict[str, Any]] | None:
        row = self._db.execute(
            "SELECT number, event FROM waiting JOIN events USING (number) WHERE sink = ? ORDER BY number LIMIT 1",
            (sink,),
        ).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def done(self, sink: str, number: int) -> None:
        """A sink has delivered an event; once all sinks have, it is deleted."""
        with self._changed, self._db:
            self._db.execute("DELETE FROM waiting WHERE sink = ? AND number = ?", (sink, number))
            self._db.execute(
                "DELETE FROM events WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM waiting WHERE number = ?1)",
                (number,),
            )

    def waiting(self) -> dict[str, int]:
        """The number of events that wait for each sink, including sinks that only an earlier process had."""
        with self._changed:
            stored = self._db.execute("SELECT sink, COUNT(*) FROM waiting GROUP BY sink").fetchall()
            unsaved = dict.fromkeys(self.sinks, len(self._unsaved))
            return unsaved | {sink: count + unsaved.get(sink, 0) for sink, count in stored}

    def wake(self) -> None:
        """Wake every thread that waits in `next`."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._db.close()

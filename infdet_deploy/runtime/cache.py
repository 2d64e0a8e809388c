"""Compiled stages kept in the user's cache, so that a second start compiles nothing.

An entry is one file, `KEY.blob`: what the backend made of a stage, and in the last 4 bytes the CRC-32 of that. The key
is the SHA-256 of everything that the result depends on. Entries are written whole or not at all, so processes may share
them; those used longest ago go when all together exceed `MOST_BYTES`. Where the cache cannot be written there is none,
and `INFDET_CACHE=0` turns it off.
"""

import contextlib
import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np

from infdet_deploy.files import user_cache, whole_file

SWITCH = "INFDET_CACHE"
MOST_BYTES = 2**31
_CHECK_BYTES = 4


def folder() -> Path | None:
    """Where entries lie; None where the user turned the cache off or has no home."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return user_cache() / "compiled"
    except RuntimeError:  # a user without a home
        return None


def key_of(**parts: object) -> str:
    """The key of what was made from `parts`, which JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load(key: str) -> np.ndarray | None:
    """The entry, uint8 [n], mapped into memory where writing changes a copy; None without a whole one."""
    root = folder()
    if root is None:
        return None
    path = root / f"{key}.blob"
    try:
        # A file that is removed meanwhile stays mapped; and none is ever changed, only replaced.
        mapped = np.memmap(path, np.uint8, "c")
        os.utime(path)
    except (OSError, ValueError):  # absent, empty, or not to be touched
        return None
    data = mapped[:-_CHECK_BYTES]
    whole = zlib.crc32(data.data) == int.from_bytes(mapped[-_CHECK_BYTES:].tobytes(), "little")
    return data if whole else None


def store(key: str, data: bytes | memoryview) -> None:
    """Keep what was made under its key; does nothing where that is not possible."""
    root = folder()
    if root is None or len(data) + _CHECK_BYTES > MOST_BYTES:
        return
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        # Not synced: an entry that a crash of the machine damages is recognised, and made again.
        with whole_file(root / f"{key}.blob", sync=False) as path, path.open("wb") as file:
            file.write(data)
            file.write(zlib.crc32(data).to_bytes(_CHECK_BYTES, "little"))
        _make_room(root)


def _make_room(root: Path) -> None:
    """Remove what was used longest ago, and what killed writers left, until the rest is small enough."""
    found = [(entry.stat(), Path(entry.path)) for entry in os.scandir(root)]
    total = sum(status.st_size for status, _ in found)
    for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
        if total <= MOST_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= status.st_size

"""A cache of compiled stages in the user's cache folder, so that a second start compiles nothing.

An entry is one file, `KEY.blob`: the compiled stage, the SHA-256 of the key, and the CRC-32 of both. The key
is the SHA-256 of everything that the compiled stage depends on. Entries are written atomically, so processes may share
them. The least recently used are deleted when all exceed `MAX_BYTES`. If the folder is not writable there is no cache;
`INFDET_CACHE=0` turns it off.

A compiled stage decides what is detected, so only what this user wrote is loaded: not a link, not another user's file
or one that others may write, not another key's entry under this name.
"""

import contextlib
import hashlib
import json
import os
import stat
import zlib
from pathlib import Path

import numpy as np

from infdet_deploy.files import user_cache, whole_file

SWITCH = "INFDET_CACHE"
MAX_BYTES = 2**31
_CHECK_BYTES = 32 + 4


def folder() -> Path | None:
    """The folder of the entries; None if the user turned the cache off or has no home."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return user_cache() / "compiled"
    except RuntimeError:  # a user without a home
        return None


def key_of(**parts: object) -> str:
    """SHA-256 of the JSON of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load(key: str) -> np.ndarray | None:
    """The entry, uint8 [n], mapped into memory copy-on-write; None if it is missing or damaged."""
    root = folder()
    if root is None:
        return None
    try:
        with open(root / f"{key}.blob", "rb", opener=_open_own) as file:
            # A deleted file stays mapped, and files are never changed, only replaced.
            mapped = np.memmap(file, np.uint8, "c")
            os.utime(file.fileno())
    except (OSError, ValueError):  # missing, empty or not accessible
        return None
    data = mapped[:-_CHECK_BYTES]
    return data if mapped[-_CHECK_BYTES:].tobytes() == _check(data.data, key) else None


def _open_own(path: str, flags: int) -> int:
    """Open a file that this user wrote. Raises OSError for links and for files of others or that others may write."""
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))
    status = os.fstat(descriptor)
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        os.close(descriptor)
        raise PermissionError(f"{path} is not this user's own")
    return descriptor


def _check(data: bytes | memoryview, key: str) -> bytes:
    """The end of an entry."""
    own = hashlib.sha256(key.encode()).digest()
    return own + zlib.crc32(own, zlib.crc32(data)).to_bytes(4, "little")


def store(key: str, data: bytes | memoryview) -> None:
    """Store a compiled stage under its key; does nothing if that is not possible."""
    root = folder()
    if root is None or len(data) + _CHECK_BYTES > MAX_BYTES:
        return
    with contextlib.suppress(OSError):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not synced: the CRC-32 detects an entry that a crash of the machine damaged.
        with whole_file(root / f"{key}.blob", sync=False) as path, path.open("wb") as file:
            file.write(data)
            file.write(_check(data, key))
        _make_room(root)


def _make_room(root: Path) -> None:
    """Delete the least recently used files, and those of killed writers, until the rest is small enough."""
    found = [(entry.stat(), Path(entry.path)) for entry in os.scandir(root)]
    total = sum(status.st_size for status, _ in found)
    for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
        if total <= MAX_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= status.st_size

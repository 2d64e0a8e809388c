"""Files that are whole or absent: written under a temporary name in the same folder, synced, renamed."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def user_cache() -> Path:
    """The folder for what can be made again: `infdet-deploy` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infdet-deploy"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def whole_file(path: Path | str, staging: Path | None = None, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on any error nothing is left.

    The temporary name keeps the suffix of `path`, since some writers choose their format by it. The file lies beside
    `path`, or in the folder `staging` of the same file system. Without `sync` a crash of the machine may damage it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=staging or path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step, so that neither is ever missing; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process, however it ends; yield False where it cannot be had."""
    import fcntl  # Windows has none; what only reads bundles works there all the same

    descriptor, held = None, False
    with contextlib.suppress(OSError):  # another process has it, or the file system has no locks
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    try:
        yield held
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _temporary_folder(path: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.unfinished-", dir=path.parent))


def _remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` left that were killed: nobody holds the lock of their temporary folders."""
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.unfinished-"):
            with _locked(left) as abandoned:
                if abandoned:
                    shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces `path` as a whole, on any error nothing is left.

    An existing folder at `path` stays untouched until the new one is complete. A process that is killed leaves its
    hidden temporary folder; the next one to write `path` removes it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        with _locked(path.parent, wait=True):  # a folder without its lock would look like a leftover
            temporary = _temporary_folder(path)
            locks.enter_context(_locked(temporary))
        try:
            yield temporary
            temporary.chmod(0o755)
            for file in temporary.rglob("*"):
                _sync(file)
            _put(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    with _locked(path.parent, wait=True):
        _remove_leftovers(path)


def _put(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; one that is there already has the temporary name afterwards, or is gone."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where a folder is to be written", str(path))
    if not path.exists():
        temporary.replace(path)
    elif not _exchange(temporary, path):
        old = _temporary_folder(path)
        path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            old.replace(path)
            raise
        shutil.rmtree(old)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

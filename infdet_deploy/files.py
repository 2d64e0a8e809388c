"""Atomic files and folders: written under a temporary name in the same folder, synced, then renamed."""

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Endings of recordings in folders; a file given by name may have any ending.
VIDEO_SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".asf", ".av1", ".avc", ".avi", ".cptv", ".dav", ".divx", ".dv", ".f4v", ".flv"),
    *(".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m3u8", ".m4v", ".mjpeg", ".mjpg"),
    *(".mk3d", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogm", ".ogv", ".qt"),
    *(".rm", ".rmvb", ".trp", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
# Files that cameras, drones and programs put beside a recording: never recordings themselves.
SIDECAR_SUFFIXES = (
    *(".aac", ".ass", ".db", ".doc", ".docx", ".flac", ".gpx", ".htm", ".html", ".idx", ".ini", ".json", ".jsonl"),
    *(".kml", ".log", ".lrv", ".m4a", ".md", ".md5", ".mp3", ".ogg", ".opus", ".part", ".pdf", ".py", ".queue"),
    *(".safetensors", ".sbv", ".sha256", ".srt", ".ssa", ".sub", ".thm", ".tmp", ".tsv", ".ttml", ".txt", ".vtt"),
    *(".wav", ".wma", ".xls", ".xlsx", ".xml", ".xmp", ".yaml", ".yml"),
)
ARRAY_SUFFIXES = (".npy", ".npz", ".csv")  # thermal arrays; folders are not searched for them
TIFF_SUFFIXES = (".tif", ".tiff")  # a picture, or a recording if it has several pages
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", *TIFF_SUFFIXES)


def user_cache() -> Path:
    """The folder for files that can be computed again: `infdet-deploy` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infdet-deploy"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def whole_file(path: Path | str, staging: Path | None = None, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on an error it is deleted.

    The temporary name has the suffix of `path`, because some writers choose their format by it. staging: another folder
    for the temporary file, on the same file system. sync: False is faster, but a crash of the machine may damage the
    file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (staging or path.parent) / f".{path.stem[:32]}.{secrets.token_hex(4)}{path.suffix}"
    temporary.touch(exist_ok=False)  # the permissions that the user's umask leaves, unlike those of tempfile
    try:
        yield temporary
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths atomically; False if the system does not support it."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Lock a folder until the block or the process ends; yields False if it cannot be locked."""
    import fcntl  # not on Windows, where reading bundles works anyway

    with contextlib.ExitStack() as stack:
        locked = False
        with contextlib.suppress(OSError):  # locked by another process, or a file system without locks
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        yield locked


def _temporary_folder(path: Path) -> Path:
    folder = path.parent / f".{path.name}.unfinished-{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces `path`, on an error it is deleted.

    An existing folder at `path` stays until the new one is complete. The next writer of `path` deletes the hidden
    temporary folder of a killed process.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        with _locked(path.parent, wait=True):  # an unlocked temporary folder looks like a leftover
            temporary = _temporary_folder(path)
            locks.enter_context(_locked(temporary))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            _put(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    with _locked(path.parent, wait=True):
        for left in path.parent.glob(f"{glob.escape(f'.{path.name}.unfinished-')}*"):
            with _locked(left) as abandoned:  # by a killed writer
                if abandoned:
                    shutil.rmtree(left, ignore_errors=True)


def _put(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`. An existing folder gets the temporary name or is deleted."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is in the place of the folder to write", str(path))
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
    """Write `value` as indented JSON, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def regular_only(path: str, flags: int) -> int:
    """An opener for `open` that never waits: raises OSError for pipes, devices and folders."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

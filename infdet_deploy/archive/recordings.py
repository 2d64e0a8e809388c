"""Find recordings: files, folders of images, and everything in folders of recordings.

A recording is identified by its path relative to the folder that was given: its name, its result file and its picture
follow from that path, so recordings of one file name in two folders stay apart.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infdet_deploy.addresses import redacted
from infdet_deploy.console import say
from infdet_deploy.errors import UsageError, reason
from infdet_deploy.files import SIDECAR_SUFFIXES, VIDEO_SUFFIXES
from infdet_deploy.video.images import is_stack, picture_files


@dataclass(frozen=True)
class Recording:
    """A file or a folder of images.

    result: its result file in the output folder. name: of no other recording; `cam1/05.12` for `cam1/05.12.mp4`.
    """

    path: Path
    result: Path
    name: str


def find_recordings(paths: Sequence[Path | str], own_files: bool = False) -> list[Recording]:
    """The recordings at these paths: files, folders of images, and all recordings in other folders, at any depth.

    Links to folders are followed, once. A file found twice is one recording. A note tells which files in folders are
    left out, except those that accompany a video (`SIDECAR_SUFFIXES`).

    Raises UsageError for a missing path, the address of a camera, a folder without recordings and, with `own_files`,
    two recordings whose results or pictures would be written to one file.
    """
    found: dict[Path, tuple[Path, Path]] = {}  # resolved → path, path relative to the folder given
    for name in paths:
        path = Path(name)
        if not path.exists():
            shown = redacted(str(name))
            if str(name).startswith(("rtsp:/", "rtsps:/", "http:/", "https:/", "v4l2:")):  # a Path has lost a slash
                raise UsageError(f"{shown} is a camera, not a recording; use: infdet-deploy watch BUNDLE {shown}")
            raise UsageError(
                f"{shown}: no such file or folder; expected a video, a thermal recording or a folder of images"
            )
        if path.is_dir() and not _is_clip(path):
            for one in _inside(path):
                found.setdefault(one.resolve(), (one, one.relative_to(path)))
        else:
            found.setdefault(path.resolve(), (path, Path(path.resolve().name)))
    named = list(found.values())
    seen: dict[Path, Path] = {}
    for path, relative in named if own_files else ():
        if seen.setdefault(relative, path) is not path:
            raise UsageError(
                f"--out, --picture: {seen[relative]} and {path} would both be written to {relative}.json or .png; "
                "name their parent folder, or give each its own --out and --picture"
            )
    names = _names(named)
    return [Recording(path, Path(f"{relative}.json"), names[path]) for path, relative in named]


def _names(found: Sequence[tuple[Path, Path]]) -> dict[Path, str]:
    """A name for each path: relative, without suffix; where two would share one, with suffix; else the whole path."""

    def short(path: Path, relative: Path) -> str:
        return str(relative if path.is_dir() else relative.with_suffix(""))

    choices = [(path, (short(path, relative), str(relative), str(path))) for path, relative in found]
    counts = Counter(choice for _, names in choices for choice in dict.fromkeys(names))
    return {path: next((name for name in names if counts[name] == 1), names[-1]) for path, names in choices}


def _inside(folder: Path) -> list[Path]:
    """The recordings in a folder, sorted; UsageError if there are none."""
    found, others = [], []
    for entry in _walk(folder, set()):
        if _is_clip(entry) if entry.is_dir() else _is_video(entry):
            found.append(entry)
        elif entry.is_file() and entry.suffix.lower() not in SIDECAR_SUFFIXES:
            others.append(entry)
    clips = {path for path in found if path.is_dir()}
    others = [path for path in others if path.parent not in clips]
    parts = {part for path in found if path.suffix.lower() == ".m3u8" for part in _parts(path)}
    found = [path for path in found if path.resolve() not in parts]
    if not found:
        raise UsageError(
            f"{folder}: no recordings in this folder; expected videos ({' '.join(VIDEO_SUFFIXES)}), TIFF "
            "stacks or folders of images; name files with other suffixes"
        )
    if others:
        suffixes = Counter(path.suffix.lower() or "without suffix" for path in others)
        say(f"note: {folder}: {len(others)} files left out: {', '.join(suffixes)}; name a file to use it")
    return sorted(found)


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Everything in a folder but hidden entries. Links to folders come last, and no folder is entered twice."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    try:
        entries = sorted(Path(entry) for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError as error:
        say(f"note: {folder} is left out: {reason(error)}")
        return
    yield from entries
    for entry in sorted((entry for entry in entries if entry.is_dir()), key=Path.is_symlink):
        yield from _walk(entry, seen)


def _parts(playlist: Path) -> set[Path]:
    """The files that a playlist plays, which are no recordings of their own."""
    with playlist.open(encoding="utf-8-sig", errors="replace") as file:
        lines = file.readlines() if file.read(7) == "#EXTM3U" else []
    return {(playlist.parent / line).resolve() for line in map(str.strip, lines) if line and not line.startswith("#")}


def _is_clip(folder: Path) -> bool:
    """Whether a folder is one recording: it contains pictures and no videos that they could be previews of."""
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return bool(picture_files(folder)) and not any(map(_is_video, files))


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES or is_stack(file)

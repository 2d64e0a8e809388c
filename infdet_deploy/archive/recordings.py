"""Find recordings: files, folders of images, and everything in folders of recordings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infdet_deploy.errors import UsageError
from infdet_deploy.files import VIDEO_SUFFIXES
from infdet_deploy.video.images import is_stack, picture_files


@dataclass(frozen=True)
class Recording:
    """A file or a folder of images. result: the name of its result file in the output folder."""

    path: Path
    result: Path


def find_recordings(paths: Sequence[Path | str], own_results: bool = False) -> list[Recording]:
    """The recordings at these paths: files, folders of images, and all recordings in other folders, at any depth.

    Raises UsageError for a missing path, the address of a camera, a folder without recordings and, with `own_results`,
    two recordings whose results would be written to one file.
    """
    found = []
    for name in paths:
        path = Path(name)
        if not path.exists():
            if str(name).startswith(("rtsp:/", "rtsps:/", "http:/", "https:/", "v4l2:")):  # a Path has lost a slash
                raise UsageError(f"{name} is a camera, not a recording; use: infdet-deploy watch BUNDLE {name}")
            raise UsageError(
                f"{name}: no such file or folder; expected a video, a thermal recording or a folder of images"
            )
        if path.is_dir() and not _is_clip(path):
            shown = (
                one for one in sorted(path.rglob("*")) if not re.search(r"(^|/)\.", one.relative_to(path).as_posix())
            )
            inside = [one for one in shown if (_is_clip(one) if one.is_dir() else _is_video(one))]
            if not inside:
                raise UsageError(
                    f"{path}: no recordings in this folder; expected videos ({' '.join(VIDEO_SUFFIXES)}), TIFF "
                    "stacks or folders of images; name files with other suffixes"
                )
            found += [Recording(one, Path(f"{one.relative_to(path)}.json")) for one in inside]
        else:
            found.append(Recording(path, Path(f"{path.resolve().name}.json")))
    seen: dict[Path, Path] = {}
    for one in found if own_results else ():
        if seen.setdefault(one.result, one.path) is not one.path:
            raise UsageError(
                f"--out: {seen[one.result]} and {one.path} would both be written to {one.result}; "
                "name their parent folder, or give each its own --out"
            )
    return found


def _is_clip(folder: Path) -> bool:
    """Whether a folder is one recording: it contains pictures and no videos that they could be previews of."""
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return bool(picture_files(folder)) and not any(map(_is_video, files))


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES or is_stack(file)

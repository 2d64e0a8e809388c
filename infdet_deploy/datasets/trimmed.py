"""Trimmed clips in a folder per class, the layout of action recognition sets (InfAR, Infrared-Visible)."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from infdet_deploy.console import say
from infdet_deploy.datasets.instances import SUBSETS, Clip
from infdet_deploy.datasets.names import quoted
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import SIDECAR_SUFFIXES, VIDEO_SUFFIXES
from infdet_deploy.video.images import is_stack, picture_files

_OTHER_FOLDERS = ("videos", "frames", "annotations")  # of sets with annotations


def is_sorted_by_class(root: Path) -> bool:
    """Whether a folder contains clips in `CLASS/` or `SUBSET/CLASS/`."""
    return any(_is_clip(path) for _, _, path in _entries(root))


def read_class_folders(root: Path) -> tuple[tuple[Clip, ...], dict[str, Path]]:
    """The clips below `SUBSET/CLASS/`, or below `CLASS/` (then all for training), and each clip's video or images.

    Subsets are `training`, `validation`, `testing` or `train`, `val`, `test`, in any case. A clip is a video file or a
    folder of images that shows its class from start to end. Its name is SUBSET-CLASS-FILE, or CLASS-FILE without
    subsets. Raises AnnotationError for two clips of one name.
    """
    clips: list[Clip] = []
    media: dict[str, Path] = {}
    others = []
    for subset, label, path in _entries(root):
        if not _is_clip(path):
            others += [path] if path.suffix.lower() not in SIDECAR_SUFFIXES else []
            continue
        name = "-".join((*path.parent.relative_to(root).parts, path.stem if path.is_file() else path.name))
        if name in media:
            raise AnnotationError(f"{path}: another clip is called '{name}', {media[name]}; rename one")
        media[name] = path
        clips.append(Clip(name, None, subset, (), str(path), label))
    if others:
        say(f"note: {root}: {len(others)} files are no clips and left out: {quoted([path.name for path in others])}")
    return tuple(clips), media


def trimmed(clip: Clip) -> Clip:
    """The clip labelled with its one class. Raises AnnotationError if its instances show none or several."""
    found = sorted({one.label for one in clip.instances})
    if clip.label or len(found) == 1:
        return dataclasses.replace(clip, instances=(), label=clip.label or found[0])
    raise AnnotationError(
        f"{clip.where}: clip '{clip.name}' shows {', '.join(found) or 'no action'}; recognition needs clips of one "
        "class"
    )


def _is_clip(path: Path) -> bool:
    return bool(picture_files(path)) if path.is_dir() else path.suffix.lower() in VIDEO_SUFFIXES or is_stack(path)


def _entries(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Subset, class and path of everything in the folders of classes."""
    folders = [folder for folder in root.iterdir() if folder.is_dir() and folder.name.lower() in SUBSETS]
    order = list(SUBSETS)
    folders.sort(key=lambda folder: order.index(folder.name.lower()))
    parts = [(SUBSETS[folder.name.lower()], folder) for folder in folders]
    for subset, part in parts or [("training", root)]:
        for folder in sorted(part.iterdir()):
            if not folder.is_dir() or folder.name.startswith(".") or folder.name in _OTHER_FOLDERS:
                continue
            for path in sorted(folder.iterdir()):
                if not path.name.startswith("."):
                    yield subset, folder.name, path

"""Trimmed clips in a folder per class, the layout of action recognition sets (InfAR, Infrared-Visible)."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from infdet_deploy.datasets.instances import SUBSETS, Clip
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import VIDEO_SUFFIXES
from infdet_deploy.video.images import picture_files

_OTHER_FOLDERS = ("videos", "frames", "annotations")  # of sets with annotations


def is_sorted_by_class(root: Path) -> bool:
    """Whether a folder contains clips in `CLASS/` or `SUBSET/CLASS/`."""
    return next(_clips(root), None) is not None


def read_class_folders(root: Path) -> tuple[tuple[Clip, ...], dict[str, Path]]:
    """The clips below `SUBSET/CLASS/`, or below `CLASS/` (then all for training), and each clip's video or images.

    Subsets are `training`, `validation`, `testing` or `train`, `val`, `test`, in any case. A clip is a video file or a
    folder of images that shows its class from start to end. Its name is SUBSET-CLASS-FILE, or CLASS-FILE without
    subsets. Raises AnnotationError for two clips of one name.
    """
    clips: list[Clip] = []
    media: dict[str, Path] = {}
    for subset, label, path in _clips(root):
        name = "-".join((*path.parent.relative_to(root).parts, path.stem if path.is_file() else path.name))
        if name in media:
            raise AnnotationError(f"{path}: another clip is called '{name}', {media[name]}; rename one")
        media[name] = path
        clips.append(Clip(name, None, subset, (), str(path), label))
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


def _clips(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Subset, class and frames of each clip."""
    folders = [folder for folder in root.iterdir() if folder.is_dir() and folder.name.lower() in SUBSETS]
    order = list(SUBSETS)
    folders.sort(key=lambda folder: order.index(folder.name.lower()))
    parts = [(SUBSETS[folder.name.lower()], folder) for folder in folders]
    for subset, part in parts or [("training", root)]:
        for folder in sorted(part.iterdir()):
            if not folder.is_dir() or folder.name.startswith(".") or folder.name in _OTHER_FOLDERS:
                continue
            for path in sorted(folder.iterdir()):
                if path.name.startswith("."):
                    continue
                video = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
                if video or (path.is_dir() and picture_files(path)):
                    yield subset, folder.name, path

"""A data set's folder: its annotations and its clips' frames.

Annotations, the first that exist:
1. `annotations.json` in the folder, or its only other `.json` file.
2. THUMOS class files `*.txt` in the folder.
3. The same in its subfolder `annotations/`.
4. Trimmed clips in a folder per class (see `trimmed`).

Frames of clip NAME: `videos/NAME.*`, `frames/NAME/` (images ordered by number), or `NAME.*` in the folder. Thermal
arrays (`.npy`, `.npz`, `.csv`) are frames only in `videos/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.annotations import parse_annotations
from infdet_deploy.datasets.formats import FORMATS
from infdet_deploy.datasets.formats.parsing import FormatOptions, Report, empty_subset, load_json, refuse
from infdet_deploy.datasets.formats.thumos import CLASS_LIST, class_files, read_class_ids
from infdet_deploy.datasets.instances import Clip, canonical_subset, classes_of
from infdet_deploy.datasets.trimmed import is_sorted_by_class, read_class_folders
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError, VideoError
from infdet_deploy.files import ARRAY_SUFFIXES
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video.containers import declared_rate
from infdet_deploy.video.frames import Video, read_prepared
from infdet_deploy.video.images import picture_files
from infdet_deploy.video.preparation import Preparation

ANNOTATIONS = "annotations.json"
_NOT_FRAMES = {".json", ".txt", ".md", ".safetensors", ".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class DataSet:
    """Clips with their annotations and frames.

    annotations: the file or folder they were read from. classes: names in the order of a network's outputs. media: the
    video file or image folder of each clip, by its name; clips without frames have no entry.
    """

    root: Path
    annotations: Path
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    media: dict[str, Path]

    def subset(self, name: str) -> tuple[Clip, ...]:
        """The clips of one subset, perhaps none; `training` and `train` are the same subset, and so on."""
        return tuple(clip for clip in self.clips if canonical_subset(clip.subset) == canonical_subset(name))

    def select(self, name: str | None) -> tuple[Clip, ...]:
        """The clips of one subset, or all for None. Raises AnnotationError if there is none."""
        clips = self.clips if name is None else self.subset(name)
        if not clips:
            raise empty_subset(self.annotations, str(name), self.clips)
        return clips

    def usable(self, name: str | None, classes: Sequence[str]) -> tuple[Clip, ...]:
        """The clips of `select`, for a network of these classes.

        Raises VideoError for a clip without frames, AnnotationError for a label that the network does not have.
        """
        clips = self.select(name)
        for clip in clips:
            if clip.name not in self.media:
                raise VideoError(
                    f"{self.root}: clip '{clip.name}' has no frames; expected videos/{clip.name}.mp4 (or another video "
                    f"file) or a folder frames/{clip.name}"
                )
            for label, where in clip.labels():
                if label not in classes:
                    raise AnnotationError(
                        f"{where}: clip '{clip.name}' has label '{label}', the network knows {', '.join(classes)}"
                    )
        return clips

    def video(self, clip: Clip, preparation: Preparation) -> Video:
        """A clip's frames for a network. Raises VideoError as `read_video` does, and for fewer than 16 frames."""
        return read_prepared(self.media[clip.name], preparation, self.pictures_rate(clip), MIN_FRAMES)

    def pictures_rate(self, clip: Clip) -> float | None:
        """The frames per second that a folder of images gets from its annotated duration; None for other recordings."""
        path = self.media[clip.name]
        if not path.is_dir() or clip.duration_s is None:
            return None
        return len(picture_files(path)) / clip.duration_s

    def frame_rate(self, name: str) -> float | None:
        """The frames per second that a clip's video declares; None for images, arrays and clips without video."""
        path = self.media.get(name)
        if path is None or path.is_dir() or path.suffix.lower() in ARRAY_SUFFIXES:
            return None
        return declared_rate(path)


def open_dataset(
    path: Path | str, fps: float | None = None, classes: Sequence[str] | None = None, report: Report = refuse
) -> DataSet:
    """Read a data set: a folder as in docs/formats.md, an annotation file, or a folder of class files.

    fps: frame rate of Label Studio's frame numbers; default: the export's or the video's. classes: names in the order
    of a network's outputs, and of the indices in InfDet JSON; default: the file's own list, InfDet's three if no other
    label occurs, or all labels by name. report: as for `read_annotations`.

    Raises AnnotationError without annotations, and as `read_annotations` does.
    """
    path = Path(path)
    source = _annotations(path)
    if source is None:
        trimmed, media = read_class_folders(path)
        return DataSet(path, path, trimmed, classes_of(trimmed) if classes is None else tuple(classes), media)
    root = path if path.is_dir() else path.parent
    media = media_in(root)
    content = load_json(source, report) if source.is_file() else None
    known = _listed(source, content) if classes is None else tuple(classes)
    rates = DataSet(root, source, (), (), media)
    options = FormatOptions(known or INFDET_CLASSES, lambda name: fps or rates.frame_rate(name), report)
    clips = parse_annotations(source, content, options)
    found = {clip.name: media[clip.name] for clip in clips if clip.name in media}
    return DataSet(root, source, clips, known or classes_of(clips), found)


def has_annotations(folder: Path) -> bool:
    """Whether a folder or its subfolder `annotations/` has an annotation file; a readme does not count.

    Annotation files are `annotations.json`, class files, and JSON that is in a supported format or damaged.
    """
    parts = (folder, folder / "annotations")
    return any(class_files(part) or any(map(_annotates, part.glob("*.json"))) for part in parts)


def _annotates(file: Path) -> bool:
    if file.name == ANNOTATIONS:
        return True
    try:
        content = load_json(file, lambda error: None)
    except AnnotationError:
        return True
    return any(one.recognises(file, content) for one in FORMATS.values())


def _annotations(path: Path) -> Path | None:
    """The annotation file or the folder of class files; None for clips sorted into class folders."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise AnnotationError(f"{path}: no such data set folder or annotation file")
    for folder in (path, path / "annotations"):
        files = sorted(folder.glob("*.json"))
        if folder / ANNOTATIONS in files:
            return folder / ANNOTATIONS
        if len(files) == 1:
            return files[0]
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise AnnotationError(f"{folder}: {len(files)} JSON files ({names}); name one, or call it {ANNOTATIONS}")
        if class_files(folder):
            return folder
    if is_sorted_by_class(path):
        return None
    raise AnnotationError(
        f"{path}: no annotations, expected {ANNOTATIONS}, one .txt per class, or a folder of clips for each class; see "
        "docs/formats.md"
    )


def _listed(source: Path, content: Any) -> tuple[str, ...] | None:
    """Class names as the annotations list them, None if they do not."""
    if source.is_dir():
        return tuple(read_class_ids(source).values()) if (source / CLASS_LIST).exists() else None
    listed = content.get("classes") if isinstance(content, dict) and "database" in content else None
    if listed is None:
        return None
    if not listed or not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise AnnotationError(f"{source}: 'classes' is {listed!r}, expected a list of names")
    return tuple(listed)


def media_in(root: Path) -> dict[str, Path]:
    """Video files and image folders by name; `videos/` takes precedence over `frames/`, and that over the root."""
    found: dict[str, Path] = {}
    for folder, kind in ((root, "file"), (root / "frames", "folder"), (root / "videos", "any")):
        others = _NOT_FRAMES if kind == "any" else {*_NOT_FRAMES, *ARRAY_SUFFIXES}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            hidden = path.name.startswith(".")
            if path.is_dir() and kind != "file" and not hidden:
                found[path.name] = path
            elif path.is_file() and kind != "folder" and not hidden and path.suffix.lower() not in others:
                found[path.name] = path
                if path.suffix.lower() not in ARRAY_SUFFIXES or path.stem not in found:
                    found[path.stem] = path  # an array next to a video of its name may hold the video's features
    return found

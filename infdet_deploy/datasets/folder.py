"""A data set's folder: its annotations and its clips' frames.

Annotations, the first that exist:
1. `annotations.json` in the folder, or its only other `.json` file.
2. THUMOS class files `*.txt` in the folder.
3. The same in its subfolder `annotations/`.
4. Trimmed clips in a folder per class (see `trimmed`).

Frames of clip NAME: `videos/NAME.*`, `frames/NAME/` (images ordered by number), or `NAME.*` in the folder. Thermal
arrays (`.npy`, `.npz`, `.csv`) are frames only in `videos/`. Subtitles, sound, previews and the like beside a video are
ignored.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from infdet_deploy.datasets.annotations import parse_annotations
from infdet_deploy.datasets.formats import FORMATS
from infdet_deploy.datasets.formats.parsing import (
    FormatOptions,
    Report,
    class_name,
    empty_subset,
    load_json,
    note,
    refuse,
)
from infdet_deploy.datasets.formats.thumos import CLASS_LIST, class_files, read_class_ids
from infdet_deploy.datasets.instances import Clip, canonical_subset, classes_of
from infdet_deploy.datasets.names import canonical, nearest
from infdet_deploy.datasets.trimmed import is_sorted_by_class, read_class_folders
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError, VideoError
from infdet_deploy.files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, SIDECAR_SUFFIXES, VIDEO_SUFFIXES
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video.containers import declared_rate
from infdet_deploy.video.frames import Video, read_prepared
from infdet_deploy.video.images import is_stack, picture_files
from infdet_deploy.video.preparation import Preparation

ANNOTATIONS = "annotations.json"
_NOTES = 5  # printed; the rest is counted


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
                    f"file) or a folder frames/{clip.name}{nearest(clip.name, media_in(self.root))}"
                )
            for label, where in clip.labels():
                if label not in classes:
                    raise AnnotationError(
                        f"{where}: clip '{clip.name}' has label '{label}', the network knows {', '.join(classes)}"
                        f"{nearest(label, classes)}"
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
        path = self.media.get(name) or self.media.get(normalize("NFC", name))
        if path is None or path.is_dir() or path.suffix.lower() in ARRAY_SUFFIXES:
            return None
        return declared_rate(path)


def open_dataset(
    path: Path | str,
    fps: float | None = None,
    classes: Sequence[str] | None = None,
    report: Report = refuse,
    notes: list[str] | None = None,
) -> DataSet:
    """Read a data set: a folder as in docs/formats.md, an annotation file, or a folder of class files.

    fps: frame rate of Label Studio's frame numbers; default: the export's or the video's. classes: names in the order
    of a network's outputs, and of the indices in InfDet JSON; default: the file's own list, InfDet's three if no other
    label occurs, or all labels by name. report: as for `read_annotations`. notes: gets a line about each entry that is
    used in part; default: the first few are printed.

    Raises AnnotationError without annotations, for a clip with two recordings, and as `read_annotations` does.
    """
    path = Path(path)
    source = _annotations(path)
    if source is None:
        trimmed, frames = read_class_folders(path)
        return DataSet(path, path, trimmed, classes_of(trimmed) if classes is None else tuple(classes), frames)
    root = path if path.is_dir() else path.parent
    media = media_in(root)
    content = load_json(source, report) if source.is_file() else None
    known = _listed(source, content) if classes is None else tuple(classes)
    rates = DataSet(root, source, (), (), {name: files[0] for name, files in media.items()})
    seen: list[str] = []
    options = FormatOptions(
        known or INFDET_CLASSES, lambda name: fps or rates.frame_rate(name), report, seen.append, video_rate=fps is None
    )
    clips = parse_annotations(source, content, options)
    found = _media_of(clips, media, report)
    if notes is not None:
        notes += seen
    else:
        for text in [*seen[:_NOTES], *([f"… and {len(seen) - _NOTES} more notes"] if len(seen) > _NOTES else [])]:
            note(text)
    return DataSet(root, source, clips, known or classes_of(clips), found)


def _media_of(clips: Sequence[Clip], media: dict[str, tuple[Path, ...]], report: Report) -> dict[str, Path]:
    """The recording of each clip: of its name, else of its name without the suffix, if no other clip has that."""
    found: dict[str, Path] = {}
    users = Counter(canonical(clip.name) for clip in clips)
    for clip in clips:
        name = canonical(clip.name)
        files = media.get(normalize("NFC", clip.name)) or (media.get(name) if users[name] == 1 else None)
        if files is not None:
            found[clip.name] = files[0]
            if len(files) > 1:
                report(
                    AnnotationError(
                        f"{clip.where}: '{clip.name}' is the name of {len(files)} recordings: "
                        f"{', '.join(map(str, files))}; keep one, or name the clip with the suffix"
                    )
                )
    return found


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
    names = [class_name(f"{source}: 'classes'", name, note) for name in listed]
    if len(set(names)) < len(names):
        raise AnnotationError(f"{source}: 'classes' is {listed!r}, expected each name once")
    return tuple(names)


def media_in(root: Path) -> dict[str, tuple[Path, ...]]:
    """Recordings by file name and by name without suffix; `videos/` takes precedence over `frames/`, and that over the
    root. Files of one name are several recordings only if they are equally likely one: see `_rank`."""
    found: dict[str, tuple[Path, ...]] = {}
    for folder, kind in ((root, "file"), (root / "frames", "folder"), (root / "videos", "any")):
        ranks: dict[str, list[tuple[int, Path]]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not path.name.startswith(".") and (rank := _rank(path, kind)) is not None:
                ranks.setdefault(path.name if path.is_dir() else path.stem, []).append((rank, path))
        for name, files in ranks.items():
            best = min(rank for rank, _ in files)
            found[normalize("NFC", name)] = tuple(path for rank, path in files if rank == best)
        named = [path for files in ranks.values() for _, path in files if not path.is_dir()]
        found |= {normalize("NFC", path.name): (path,) for path in named}
    return found


def _rank(path: Path, kind: str) -> int | None:
    """0 for a video or image folder, then arrays, which may be a video's features, then logs, then unknown suffixes.

    None for files that accompany a video. kind: whether a "folder", a "file" (no array) or "any" is looked for.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return None if kind == "file" else 0
    if kind == "folder" or not path.is_file() or suffix in SIDECAR_SUFFIXES:
        return None
    if suffix in VIDEO_SUFFIXES or is_stack(path):
        return 0
    if suffix in ARRAY_SUFFIXES:
        return None if kind == "file" else 2 if suffix == ".csv" else 1
    return None if suffix in IMAGE_SUFFIXES else 3

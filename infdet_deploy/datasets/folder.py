"""A data set's folder: which annotations it has, and where each clip's frames are.

Annotations, the first of these that is there:
1. `annotations.json` in the folder, else the only other `.json` file.
2. Class files `*.txt` in the folder.
3. The same in its subfolder `annotations/`.

Without any, trimmed clips sorted into a folder for each class (see `trimmed`).

Frames of clip NAME: `videos/NAME.*`, `frames/NAME/` (pictures in the order of their numbers), or `NAME.*` in the
folder.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.datasets.annotations import Clip, read_annotations, read_class_ids
from infdet_deploy.datasets.formats.parsing import Report, empty_subset, load_json, read_text, refuse
from infdet_deploy.datasets.formats.thumos import CLASS_LIST
from infdet_deploy.datasets.trimmed import SUBSETS, is_sorted_by_class, read_class_folders
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError, VideoError
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video import Video, read_video
from infdet_deploy.video.containers import declared_rate
from infdet_deploy.video.resize import Mode

ANNOTATIONS = "annotations.json"
_NOT_FRAMES = {".json", ".txt", ".md", ".csv", ".npz", ".safetensors", ".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class DataSet:
    """annotations: the file or folder they were read from. classes: names in the order of a network's outputs.

    media: where each clip's frames are, by its name; clips without frames are missing there.
    """

    root: Path
    annotations: Path
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    media: dict[str, Path]

    def subset(self, name: str) -> tuple[Clip, ...]:
        """The clips of one subset, perhaps none; `training`, `train` and so on are the same one."""
        return tuple(clip for clip in self.clips if canonical_subset(clip.subset) == canonical_subset(name))

    def select(self, name: str | None) -> tuple[Clip, ...]:
        """The clips of one subset, all of them for None; AnnotationError where there is none."""
        clips = self.clips if name is None else self.subset(name)
        if not clips:
            raise empty_subset(self.annotations, str(name), self.clips)
        return clips

    def usable(self, name: str | None, classes: Sequence[str]) -> tuple[Clip, ...]:
        """The clips of `select`, all fit for a network of these classes.

        Raises VideoError for a clip without frames, AnnotationError for a label that is not the network's.
        """
        clips = self.select(name)
        for clip in clips:
            if clip.name not in self.media:
                raise VideoError(
                    f"{self.root}: clip '{clip.name}' has no frames; expected videos/{clip.name}.mp4 (or another video "
                    f"file) or a folder frames/{clip.name}"
                )
            for label, where in [(clip.label, clip.where), *((one.label, one.where) for one in clip.instances)]:
                if label and label not in classes:
                    raise AnnotationError(
                        f"{where}: clip '{clip.name}' has label '{label}', the network knows {', '.join(classes)}"
                    )
        return clips

    def video(self, clip: Clip, size: int, mode: Mode) -> Video:
        """A clip's frames as a network takes them; pictures, which tell no time, last as long as the annotations say.

        size and mode as for `read_video`; raises VideoError as it does, and below 16 frames.
        """
        video = read_video(self.media[clip.name], size, mode, min_frames=MIN_FRAMES)
        if self.media[clip.name].is_dir() and clip.duration_s is not None:
            fps = len(video.frames) / clip.duration_s
            video = dataclasses.replace(video, fps=fps, timestamps_s=np.arange(len(video.frames)) / fps)
        return video

    def frame_rate(self, name: str) -> float | None:
        """The frames per second that a clip's video declares; None for pictures, and where there is no video."""
        path = self.media.get(name)
        return declared_rate(path) if path is not None and path.is_file() else None


def open_dataset(
    path: Path | str, fps: float | None = None, classes: Sequence[str] | None = None, report: Report = refuse
) -> DataSet:
    """Find out what the folder `path` holds; `path` may also be an annotation file, or a folder of class files.

    fps: frame rate of Label Studio's frame numbers, where neither the export nor the video tells. classes: names in
    the order of a network's outputs, and of the indices in InfDet JSON; by default the file's own list, else InfDet's
    three where those are all that occur, else sorted. report: as for `read_annotations`.

    Raises AnnotationError where there are no annotations, and as `read_annotations` does.
    """
    path = Path(path)
    source = _annotations(path)
    if source is None:
        trimmed, media = read_class_folders(path)
        names = tuple(classes) if classes is not None else tuple(sorted({clip.label for clip in trimmed}))
        return DataSet(path, path, trimmed, names, media)
    root = path if path.is_dir() else path.parent
    media = media_in(root)

    content = load_json(source, report) if source.is_file() else None
    known = tuple(classes) if classes is not None else _listed(source, content)
    seen = DataSet(root, source, (), (), media)
    clips = read_annotations(
        source, None, known or INFDET_CLASSES, lambda name: fps or seen.frame_rate(name), report, content
    )
    if known is None:
        labels = {one.label for clip in clips for one in clip.instances}
        known = INFDET_CLASSES if labels <= set(INFDET_CLASSES) else tuple(sorted(labels))
    return DataSet(root, source, clips, known, {c.name: media[c.name] for c in clips if c.name in media})


def holds_annotations(folder: Path) -> bool:
    """Whether a folder, or its subfolder `annotations/`, has a file that annotates; a README or notes do not.

    That is `annotations.json`, JSON in one of the forms that are read or too broken to tell, and text with a line of a
    class file.
    """
    parts = (folder, folder / "annotations")
    return any(_annotates(file) for part in parts for ending in ("json", "txt") for file in part.glob(f"*.{ending}"))


def _annotates(file: Path) -> bool:
    if file.name in (ANNOTATIONS, CLASS_LIST):
        return file.name == ANNOTATIONS
    if file.suffix == ".txt":
        rows = (line.split() for line in read_text(file).splitlines())
        return any(len(row) == 3 and all(map(_is_number, row[1:])) for row in rows)
    try:
        content = load_json(file, lambda error: None)
    except AnnotationError:
        return True
    if not isinstance(content, dict):
        return isinstance(content, list)  # Label Studio's
    return "database" in content or any(isinstance(entry, dict) and "actions" in entry for entry in content.values())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def canonical_subset(subset: str | None) -> str | None:
    """`training`, `validation` or `testing` for their short names too; other names as they are."""
    return None if subset is None else SUBSETS.get(subset.lower(), subset)


def _annotations(path: Path) -> Path | None:
    """The annotation file, or the folder of class files; None where clips are sorted into class folders."""
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
        if any(file.name != CLASS_LIST for file in folder.glob("*.txt")):
            return folder
    if is_sorted_by_class(path):
        return None
    raise AnnotationError(
        f"{path}: no annotations, expected {ANNOTATIONS}, one .txt per class, or a folder of clips for each class; see "
        "docs/formats.md"
    )


def _listed(source: Path, content: Any) -> tuple[str, ...] | None:
    """Class names as the annotations list them, None where they do not."""
    if source.is_dir():
        return tuple(read_class_ids(source).values()) if (source / CLASS_LIST).exists() else None
    listed = content.get("classes") if isinstance(content, dict) and "database" in content else None
    if listed is None:
        return None
    if not listed or not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise AnnotationError(f"{source}: 'classes' is {listed!r}, expected a list of names")
    return tuple(listed)


def media_in(root: Path) -> dict[str, Path]:
    """All there is to see, by name; a file in `videos/` goes before a folder in `frames/`, and that before the root."""
    found: dict[str, Path] = {}
    for folder, kind in ((root, "file"), (root / "frames", "folder"), (root / "videos", "any")):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            hidden = path.name.startswith(".")
            if path.is_dir() and kind != "file" and not hidden:
                found[path.name] = path
            elif path.is_file() and kind != "folder" and not hidden and path.suffix.lower() not in _NOT_FRAMES:
                found[path.stem] = found[path.name] = path
    return found

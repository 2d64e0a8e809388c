"""Reading and writing annotation files of any supported format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats import FORMATS, FormatName
from infdet_deploy.datasets.formats.parsing import FormatOptions, FrameRate, Report, empty_subset, load_json, refuse
from infdet_deploy.datasets.instances import AMBIGUOUS, Clip, classes_of
from infdet_deploy.datasets.names import quoted
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError


def _frame_rate(fps: float | FrameRate | None) -> FrameRate:
    return fps if callable(fps) else lambda name: fps


def read_annotations(
    path: Path | str,
    subset: str | None = None,
    classes: Sequence[str] = INFDET_CLASSES,
    fps: float | FrameRate | None = None,
    report: Report = refuse,
) -> tuple[Clip, ...]:
    """Read a folder of THUMOS text files, or an ActivityNet, InfDet or Label Studio JSON file.

    subset: keep only clips of this subset, named as in the file (for text files the suffix `test`, `val` or `train`).
    classes: names for the class indices of InfDet JSON. fps: frame rate, or a function from a clip's name to its frame
    rate, for Label Studio's frame numbers. report: called with each error; if it returns, the entry is left out. Clips
    are in order of first appearance, class files by name; a clip's instances keep the file's order, which the
    THUMOS'14 evaluation depends on.

    Raises AnnotationError, with file and line, for a missing file, an empty folder, malformed rows, numbers that are
    not finite, end < start, an empty label, an unknown class index, a repeated clip, and a subset without any clip. A
    row of no length is left out and blanks around a label are cut off, with a note.
    """
    path = Path(path)
    content = None if path.is_dir() else load_json(path, report)
    options = FormatOptions(classes, _frame_rate(fps), report, video_rate=callable(fps))
    return parse_annotations(path, content, options, subset)


def parse_annotations(path: Path, content: Any, options: FormatOptions, subset: str | None = None) -> tuple[Clip, ...]:
    """As `read_annotations`; content: the parsed JSON of the file, None for a folder."""
    known = next((one for one in FORMATS.values() if one.recognises(path, content)), None)
    if known is None and path.is_dir():
        raise AnnotationError(f"{path}: no annotation files, expected one .txt per class")
    if known is None:
        raise AnnotationError(
            f"{path}: no clips found, expected ActivityNet ('database'), InfDet ('actions') or Label Studio JSON"
            f"{_likely(content)}"
        )
    errors: list[AnnotationError] = []

    def report(error: AnnotationError) -> None:
        errors.append(error)
        options.report(error)

    clips = known.read(path, content, replace(options, report=report))
    if AMBIGUOUS not in options.classes:
        clips = [_without_ambiguous(clip) for clip in clips]
    kept = tuple(clip for clip in clips if subset in (None, clip.subset))
    if not clips:
        reason = f"; {len(errors)} entries cannot be used, the first: {errors[0]}" if errors else ""
        raise AnnotationError(f"{path}: no clips in it{reason}")
    if not kept:
        raise empty_subset(path, str(subset), clips)
    seen: dict[str, Clip] = {}
    for clip in kept:
        if clip.name in seen:
            first = seen[clip.name]
            options.report(
                AnnotationError(
                    f"{clip.where}: clip '{clip.name}' is of subset {clip.subset} here and of {first.subset} at "
                    f"{first.where}; choose one subset"
                )
            )
        seen[clip.name] = clip
    return kept


def _likely(content: Any) -> str:
    """What else a JSON file seems to be."""
    if not isinstance(content, dict):
        return ""
    entries = [entry for entry in content.values() if isinstance(entry, dict)]
    if isinstance(content.get("labels"), dict) and "classes" in content:
        return "; it looks like FiftyOne's temporal detections: export them as ActivityNet"
    if any("annotations" in entry for entry in entries):
        return "; it looks like mmaction2's: put its clips into an object 'database', with 'duration' in seconds"
    return f"; its keys are {quoted(list(content))}" if content else ""


def _without_ambiguous(clip: Clip) -> Clip:
    no_class = tuple(one for one in clip.instances if one.label == AMBIGUOUS)
    return replace(clip, instances=tuple(one for one in clip.instances if one.label != AMBIGUOUS), ambiguous=no_class)


def write_annotations(
    path: Path | str,
    clips: Sequence[Clip],
    format: FormatName = "activitynet",
    classes: Sequence[str] | None = None,
    fps: float | FrameRate | None = None,
) -> tuple[str, ...]:
    """Write clips to a file (a folder for `thumos`), atomically.

    classes: names in the order of class indices; default: InfDet's three, or all labels by name. fps: as for
    `read_annotations`. Returns a line for each thing that the format cannot store; the rest reads back equal. Raises
    AnnotationError for clips that could not be read back.
    """
    options = FormatOptions(classes_of(clips) if classes is None else classes, _frame_rate(fps))
    clips = [replace(clip, instances=clip.instances + clip.ambiguous, ambiguous=()) for clip in clips]
    return tuple(FORMATS[format].write(Path(path), clips, options))

"""Instances, clips and detections in the file formats people have: one module a format, one reader for all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats.activitynet import clips_from_json, write_activitynet, write_infdet
from infdet_deploy.datasets.formats.detections import read_detections, write_detections_activitynet
from infdet_deploy.datasets.formats.label_studio import FrameRate, clips_from_label_studio, write_label_studio
from infdet_deploy.datasets.formats.parsing import Report, empty_subset, load_json, refuse
from infdet_deploy.datasets.formats.thumos import read_class_files, read_class_ids, write_class_files
from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError

__all__ = [
    "Clip",
    "Instance",
    "ScoredInstance",
    "read_annotations",
    "read_class_ids",
    "read_detections",
    "write_activitynet",
    "write_class_files",
    "write_detections_activitynet",
    "write_infdet",
    "write_label_studio",
]


def read_annotations(
    path: Path | str,
    subset: str | None = None,
    classes: Sequence[str] = INFDET_CLASSES,
    fps: FrameRate | None = None,
    report: Report = refuse,
    content: Any = None,
) -> tuple[Clip, ...]:
    """Read a folder of THUMOS text files, or an ActivityNet, InfDet or Label Studio JSON file.

    subset: keep only clips of this subset, named as the file names it (for text files the suffix `test`, `val` or
    `train`). classes: names for the class indices of InfDet JSON. fps: frame rate of a clip by its name, which only
    Label Studio's files need. report: called with each error; entries that cannot be used are then left out. content:
    what `load_json` gave for the file, where that has been done already. Clips come in order of first appearance, class
    files by name; instances within a clip keep their file's order, which the THUMOS'14 evaluation depends on.

    Raises AnnotationError naming file and line: for a missing file, an empty folder, malformed rows, numbers that are
    not finite, end ≤ start, an unknown class index, a clip that comes twice, and a subset without any clip.
    """
    if (path := Path(path)).is_dir():
        clips = read_class_files(path, report)
    else:
        root = load_json(path, report) if content is None else content
        if isinstance(root, list):
            clips = clips_from_label_studio(path, root, fps or (lambda name: None), report)
        else:
            clips = clips_from_json(path, root, classes, report)
    kept = tuple(clip for clip in clips if subset in (None, clip.subset))
    if not clips:
        raise AnnotationError(f"{path}: no clips in it")
    if not kept:
        raise empty_subset(path, str(subset), clips)
    seen: dict[str, Clip] = {}
    for clip in kept:
        if clip.name in seen:
            first = seen[clip.name]
            report(
                AnnotationError(
                    f"{clip.where}: clip '{clip.name}' is of subset {clip.subset} here and of {first.subset} at "
                    f"{first.where}; choose one subset"
                )
            )
        seen[clip.name] = clip
    return kept

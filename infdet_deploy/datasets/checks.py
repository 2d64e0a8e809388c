"""Everything worth knowing about a data set before training on it: figures, and each problem by file and line."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.datasets.annotation_checks import length_table, problems
from infdet_deploy.datasets.folder import DataSet, open_dataset
from infdet_deploy.errors import AnnotationError, VideoError
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video import read_video

_SLACK_S = 0.1  # an instance may end this much after the last frame: times are often rounded


def check_dataset(
    path: Path | str,
    fps: float | None = None,
    classes: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[DataSet, dict[str, Any]]:
    """Read all annotations and decode all frames; the data set as far as it can be used, and a JSON-ready report.

    The report has `clips`, `subsets`, `trimmed` (for each class its clips without times), `instances`, `lengths` (for
    each class the instances below 5 s, below 10 s and longer), `length_s` (for each class mean, shortest and longest),
    `duration_s` (of clips: number known, total, shortest, median, longest), `frames` (clips decoded, clips without)
    and `problems`, one line each. fps and classes are as for `open_dataset`. on_progress is called with the numbers of
    clips decoded and in all.

    Raises AnnotationError where nothing at all can be read.
    """
    found: list[str] = []

    def collect(error: AnnotationError) -> None:
        found.append(str(error))

    data = open_dataset(path, fps, classes, collect)
    found += problems(data.clips, data.classes)
    decoded = _decode(data, on_progress)
    durations_s = []
    for clip in data.clips:
        result = decoded.get(clip.name)
        if isinstance(result, str):
            found.append(result)
        elif clip.name not in data.media and data.media:
            found.append(f"{clip.where}: clip '{clip.name}' has no frames in {data.root}")
        seen_s = result if isinstance(result, float) else None
        for one in clip.instances if seen_s is not None else ():
            if one.end_s > seen_s + _SLACK_S and (clip.duration_s is None or one.end_s <= clip.duration_s):  # type: ignore[operator]
                found.append(
                    f"{one.where}: ends at {one.end_s:g} s, but the frames of '{clip.name}' end at {seen_s:.2f} s"
                )
        if (known_s := clip.duration_s or seen_s) is not None:
            durations_s.append(known_s)
    instances = [one for clip in data.clips for one in clip.instances]
    report = {
        "annotations": str(data.annotations),
        "clips": len(data.clips),
        "subsets": dict(Counter(str(clip.subset) for clip in data.clips)),
        "classes": list(data.classes),
        "trimmed": {label: sum(clip.label == label for clip in data.clips) for label in data.classes},
        "instances": len(instances),
        "lengths": {label: list(row) for label, row in length_table(data.clips, data.classes).items()},
        "length_s": {
            label: _spread([one.end_s - one.start_s for one in instances if one.label == label])
            for label in data.classes
        },
        "duration_s": _spread(durations_s),
        "frames": {"decoded": sum(not isinstance(r, str) for r in decoded.values()), "of": len(data.clips)},
        "problems": found,
    }
    return data, report


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    array = np.array(values)
    known = {"total": array.sum(), "mean": array.mean(), "shortest": array.min(), "longest": array.max()}
    return {"count": len(values), **{name: round(float(value), 4) for name, value in known.items()}}


def _decode(data: DataSet, on_progress: Callable[[int, int], None] | None) -> dict[str, float | str | None]:
    """Each clip's duration in seconds, None for pictures, which tell no time, or what is wrong with its frames."""
    results: dict[str, float | str | None] = {}
    names = list(data.media)
    for index, result in in_processes(_look, [(data.media[name],) for name in names]):
        results[names[index]] = result
        if on_progress is not None:
            on_progress(len(results), len(names))
    return results


def _look(path: Path) -> float | str | None:
    try:
        video = read_video(path, size=32, min_frames=MIN_FRAMES)  # small: only whether it decodes matters
    except VideoError as error:
        return str(error)
    return None if path.is_dir() else video.duration_s

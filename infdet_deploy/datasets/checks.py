"""Checking a data set before training: statistics, and each problem with file and line."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.config import to_dict
from infdet_deploy.datasets.folder import DataSet, media_in, open_dataset
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.datasets.names import alike, canonical, nearest, quoted
from infdet_deploy.errors import VideoError
from infdet_deploy.files import ARRAY_SUFFIXES, TIFF_SUFFIXES, VIDEO_SUFFIXES
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video import read_video

LENGTH_EDGES_S = (5.0, 10.0)  # the paper's Table II: below 5 s, 5 to 10 s, from 10 s
_DURATION_S, _DURATION_SHARE = 0.5, 0.02  # sound may last longer than the frames
_SLACK_S = 0.1  # an instance may end this long after the last frame, since times are often rounded


@dataclass(frozen=True)
class Spread:
    """Statistics of `count` durations, in seconds."""

    count: int
    total: float
    mean: float
    shortest: float
    longest: float


@dataclass(frozen=True)
class DatasetReport:
    """The contents and problems of a data set.

    annotations: the file or folder they were read from. subsets: clips by subset, "None" without one. trimmed: clips
    without times, by class. lengths: instances below 5 s, of 5 to 10 s and from 10 s, by class. length_s: of the
    instances, by class. duration_s: of the clips of known length. decoded: clips whose frames decode. problems: a line
    each. notes: a line for each entry that is used in part. dataset: the usable part of the data set. decoded_s:
    decoded length by clip, for video files.
    """

    annotations: str
    clips: int
    subsets: dict[str, int]
    classes: tuple[str, ...]
    trimmed: dict[str, int]
    instances: int
    lengths: dict[str, tuple[int, ...]]
    length_s: dict[str, Spread | None]
    duration_s: Spread | None
    decoded: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    dataset: DataSet = field(repr=False)
    decoded_s: dict[str, float] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every field but `dataset` and `decoded_s`, with `decoded` as `frames`."""
        values = to_dict(self)
        del values["dataset"], values["decoded_s"]
        return values | {"frames": {"decoded": values.pop("decoded"), "of": self.clips}}


def check_dataset(
    data: Path | str,
    classes: Sequence[str] | None = None,
    fps: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Read all annotations and decode all frames of a data set.

    classes, fps: as for `open_dataset`. on_progress: called with the numbers of clips decoded and in all. Raises
    AnnotationError if nothing can be read.
    """
    errors: list[str] = []
    notes: list[str] = []
    dataset = open_dataset(data, fps, classes, lambda error: errors.append(str(error)), notes)
    errors += _annotation_problems(dataset)
    decoded = _decode(dataset, on_progress)
    decoded_s = {name: result for name, result in decoded.items() if isinstance(result, float)}
    errors += _frame_problems(dataset, decoded)
    lengths_s: dict[str, list[float]] = {label: [] for label in dataset.classes}
    for one in (one for clip in dataset.clips for one in clip.instances):
        lengths_s.setdefault(one.label, []).append(one.end_s - one.start_s)
    known = (clip.duration_s or decoded_s.get(clip.name) for clip in dataset.clips)
    return DatasetReport(
        annotations=str(dataset.annotations),
        clips=len(dataset.clips),
        subsets=dict(Counter(str(clip.subset) for clip in dataset.clips)),
        classes=dataset.classes,
        trimmed={label: sum(clip.label == label for clip in dataset.clips) for label in dataset.classes},
        instances=sum(map(len, lengths_s.values())),
        lengths={label: _histogram(lengths_s[label]) for label in dataset.classes},
        length_s={label: _spread(lengths_s[label]) for label in dataset.classes},
        duration_s=_spread([duration_s for duration_s in known if duration_s is not None]),
        decoded=sum(not isinstance(result, str) for result in decoded.values()),
        problems=tuple(errors),
        notes=tuple(notes),
        dataset=dataset,
        decoded_s=decoded_s,
    )


def _annotation_problems(data: DataSet) -> Iterator[str]:
    """A line for each label that is no class, instance outside its clip, and pair of overlapping instances."""
    for index, label in enumerate(data.classes):
        if (other := alike(label, data.classes[:index])) is not None:
            yield f"{data.annotations}: classes '{other}' and '{label}' are spelt alike; if they are one, rename one"
    for clip in data.clips:
        for label, where in clip.labels():
            if label not in data.classes:
                known = f"{', '.join(data.classes)}{nearest(label, data.classes)}"
                yield f"{where}: class '{label}' of clip '{clip.name}' is not one of {known}"
        for one in clip.instances:
            if one.start_s < 0:
                yield f"{one.where}: starts at {one.start_s:g} s, before clip '{clip.name}' begins"
            if clip.duration_s is not None and one.end_s > clip.duration_s + 1e-6:
                yield f"{one.where}: ends at {one.end_s:g} s, after clip '{clip.name}' of {clip.duration_s:g} s"
        yield from _overlaps(clip)


def _overlaps(clip: Clip) -> Iterator[str]:
    """A line for each two instances of one class that share time: detections cannot separate them."""
    for one, other in pairwise(sorted(clip.instances, key=lambda i: (i.label, i.start_s, i.end_s))):
        if one.label == other.label and other.start_s < one.end_s:
            yield (
                f"{other.where}: {one.label} {other.start_s:g}–{other.end_s:g} s overlaps "
                f"{one.start_s:g}–{one.end_s:g} s of clip '{clip.name}', at {one.where}"
            )


def _frame_problems(data: DataSet, decoded: dict[str, float | str | None]) -> Iterator[str]:
    """A line for each clip that does not decode or has no frames, and each instance after the last frame."""
    files = media_in(data.root) if len(data.media) < len(data.clips) else {}
    names = [name for name, paths in files.items() if canonical(name) == name and _is_recording(paths[0])]
    if names and not data.media:
        clips = [clip.name for clip in data.clips]
        yield (
            f"{data.annotations}: none of the {len(clips)} clips is among the recordings in {data.root}: "
            f"{quoted(clips)}, but the files are {quoted(names)}{nearest(clips[0], names)}"
        )
        return
    for clip in data.clips:
        result = decoded.get(clip.name)
        if isinstance(result, str):
            yield result
        elif clip.name not in data.media and data.media:
            yield f"{clip.where}: clip '{clip.name}' has no frames in {data.root}{nearest(clip.name, names)}"
        elif result is not None:
            if clip.duration_s and abs(clip.duration_s - result) > max(_DURATION_S, _DURATION_SHARE * result):
                yield (
                    f"{clip.where}: the duration is {clip.duration_s:g} s, but the frames last {result:.2f} s: another "
                    f"recording, or times at another frame rate ({clip.duration_s / result:.3g} times)"
                )
            for one in clip.instances:
                if one.end_s > result + _SLACK_S and (clip.duration_s is None or one.end_s <= clip.duration_s):
                    yield f"{one.where}: ends at {one.end_s:g} s, but the frames of '{clip.name}' end at {result:.2f} s"


def _is_recording(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in (*VIDEO_SUFFIXES, *TIFF_SUFFIXES, *ARRAY_SUFFIXES)


def _histogram(lengths_s: list[float]) -> tuple[int, ...]:
    """How many lengths are below 5 s, from 5 to 10 s, and from 10 s."""
    bins = np.digitize(lengths_s, LENGTH_EDGES_S)
    return tuple(np.bincount(bins, minlength=len(LENGTH_EDGES_S) + 1).tolist())


def _spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    array = np.array(values)
    figures = (array.sum(), array.mean(), array.min(), array.max())
    return Spread(len(values), *(round(float(value), 4) for value in figures))


def _decode(data: DataSet, on_progress: Callable[[int, int], None] | None) -> dict[str, float | str | None]:
    """By clip: the decoded length in seconds, None for images, which store no time, or the error of its frames."""
    results: dict[str, float | str | None] = {}
    names = list(data.media)
    for index, result in in_processes(_decoded_length, [(data.media[name],) for name in names]):
        results[names[index]] = result
        if on_progress is not None:
            on_progress(len(results), len(names))
    return results


def _decoded_length(path: Path) -> float | str | None:
    try:
        video = read_video(path, size=32, min_frames=MIN_FRAMES, strict=True)  # small: only whether it decodes counts
    except VideoError as error:
        return str(error)
    return None if path.is_dir() else video.duration_s

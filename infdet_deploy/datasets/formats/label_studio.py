"""Label Studio's exports of timeline labels on videos, full (`JSON`) and short (`JSON-MIN`).

Full: `[{"data": {"video"}, "annotations": [{"result": [{"type": "timelinelabels", "value": {"ranges": [{"start",
"end"}], "timelinelabels": [label]}}]}]}]`. Short: `[{"video", "CONTROL": [{"ranges", "timelinelabels"}]}]`. Ranges
count frames from 1 and include both ends; the file stores no frame rate.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from infdet_deploy.datasets.formats.parsing import FormatOptions, at, field, interval, number, read_instance
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.datasets.names import quoted
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import write_json


def recognises(path: Path, content: Any) -> bool:
    return isinstance(content, list)


def read(path: Path, content: Any, options: FormatOptions) -> list[Clip]:
    """A clip's name is its video's file name without suffix and without the eight digits that an upload prepends.

    A task's `subset`, `duration` and `fps` are used where its data has them.
    """
    clips: dict[str, Clip] = {}
    unstated = False
    for index, task in enumerate(content):
        where = f"{at(path, task)}: task {index}"
        try:
            clip, stated = _clip(path, where, task, options)
            unstated |= not stated
            if clip.name in clips:
                raise AnnotationError(f"{where}: video '{clip.name}' occurs twice, first at {clips[clip.name].where}")
            clips[clip.name] = clip
        except AnnotationError as error:
            options.report(error)
    if unstated and options.video_rate:
        options.note(
            f"{path}: Label Studio counts frames at the frameRate of its <Video> tag (24 unless set); the videos' own "
            "rates are used: give --fps if they differ"
        )
    return list(clips.values())


def _clip(path: Path, where: str, task: Any, options: FormatOptions) -> tuple[Clip, bool]:
    """A task's clip, and whether the task states the frame rate."""
    data = task.get("data", task) if isinstance(task, dict) else task
    url = next((data[k] for k in ("video", "videos", "video_url", "url") if isinstance(data, dict) and k in data), None)
    if not isinstance(url, str) or not url:
        found = f"; its keys are {quoted(list(data))}" if isinstance(data, dict) and data else ""
        raise AnnotationError(f"{where}: no video named, expected 'video' in its data{found}")
    try:
        name = _name(url)
    except ValueError as error:
        raise AnnotationError(f"{where}: video {url!r} is not an address ({error})") from None
    rate = data.get("fps") or options.fps(name)
    if rate is None:
        raise AnnotationError(
            f"{where}: ranges count frames, and the frame rate of '{name}' is not known; give it (--fps)"
        )
    rate = number(f"{where}, fps", rate)
    subset, duration = data.get("subset"), data.get("duration")
    instances = []
    for row in _timeline(where, task, options):
        place = f"{at(path, row)}: video '{name}'"
        try:
            instances += list(_instances(place, row, rate, options))
        except AnnotationError as error:
            options.report(error)
    clip = Clip(
        name,
        None if duration is None else number(f"{where}, duration", duration),
        subset if isinstance(subset, str) else None,
        tuple(instances),
        where,
    )
    return clip, bool(data.get("fps"))


def _timeline(where: str, task: dict[str, Any], options: FormatOptions) -> Iterator[Any]:
    """The values with ranges and labels, of the first annotation not cancelled; ground truth comes first."""
    if "annotations" in task:
        listed = _list(where, task, "annotations")
        kept = [a for a in listed if isinstance(a, dict) and not a.get("was_cancelled")]
        kept.sort(key=lambda annotation: not annotation.get("ground_truth"))
        if len(kept) > 1:
            ids = ", ".join(str(annotation.get("id", "without id")) for annotation in kept)
            options.note(
                f"{where} (id {task.get('id', 'unknown')}): {len(kept)} annotations ({ids}), the first is taken; "
                "cancel or delete the others"
            )
        for result in _list(where, kept[0], "result") if kept else []:
            if isinstance(result, dict) and result.get("type") == "timelinelabels":
                yield result.get("value")
    else:
        for value in task.values():
            if isinstance(value, list):
                yield from (row for row in value if isinstance(row, dict) and "timelinelabels" in row)


def _list(where: str, entry: dict[str, Any], key: str) -> list[Any]:
    """`entry[key]`, which may be missing or null."""
    return [] if entry.get(key) is None else field(where, entry, key, list)


def _instances(where: str, row: Any, rate: float, options: FormatOptions) -> Iterator[Instance]:
    labels = field(where, row, "timelinelabels", list)
    for ends in field(where, row, "ranges", list):
        first = number(f"{where}, start", ends.get("start") if isinstance(ends, dict) else None)
        last = number(f"{where}, end", ends.get("end") if isinstance(ends, dict) else None)
        start_s, end_s = interval(where, (first - 1) / rate, last / rate)
        for label in labels:
            if not isinstance(label, str):
                raise AnnotationError(f"{where}: label is {label!r}, expected a text")
            yield from read_instance(where, label, start_s, end_s, options)


def _name(url: str) -> str:
    parts = urlsplit(url)
    file = unquote(parts.query.removeprefix("d=") if parts.path.rstrip("/").endswith("local-files") else parts.path)
    stem = Path(file.replace("\\", "/")).stem
    return re.sub(r"^[0-9a-f]{8}-", "", stem) if "/upload/" in parts.path else stem


def write(path: Path, clips: Sequence[Clip], options: FormatOptions) -> list[str]:
    """Write tasks with annotations, for import.

    Raises AnnotationError for a clip of unknown frame rate and an instance shorter than half a frame.
    """
    tasks, shift_s = [], 0.0
    for clip in clips:
        if _name(f"{clip.name}.mp4") != clip.name:
            raise AnnotationError(
                f"clip '{clip.name}': Label Studio's names of videos cannot contain / ? # %; rename it"
            )
        rate = options.fps(clip.name)
        if rate is None:
            raise AnnotationError(f"clip '{clip.name}': Label Studio counts frames; give the frame rate (--fps)")
        results = []
        for one in clip.instances:
            first, last = round(one.start_s * rate) + 1, round(one.end_s * rate)
            if last < first:
                raise AnnotationError(f"clip '{clip.name}': an instance of '{one.label}' is shorter than a frame")
            shift_s = max(shift_s, abs((first - 1) / rate - one.start_s), abs(last / rate - one.end_s))
            value = {"ranges": [{"start": first, "end": last}], "timelinelabels": [one.label]}
            results.append({"type": "timelinelabels", "from_name": "actions", "to_name": "video", "value": value})
        data: dict[str, Any] = {"video": f"{clip.name}.mp4", "fps": rate}
        data |= {} if clip.subset is None else {"subset": clip.subset}
        data |= {} if clip.duration_s is None else {"duration": clip.duration_s}
        tasks.append({"data": data, "annotations": [{"result": results}]})
    write_json(path, tasks)
    return [f"times between frames (moved by up to {shift_s:.3f} s)"] if shift_s > 1e-6 else []

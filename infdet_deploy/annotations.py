"""Instances, clips and detections in the file formats people have.

Annotations, read by `read_annotations`:
1. THUMOS text: a folder with one file per class, `drop.txt` or `drop_test.txt`, lines `video start_s end_s`; the
   folder's `detclasslist.txt` (lines `id name`) numbers the classes. Subfolders are not read.
2. ActivityNet JSON: `{"database": {name: {"subset", "duration", "annotations": [{"label", "segment": [s, e]}]}}}`.
3. InfDet JSON: `{name: {"subset", "duration", "actions": [[class, start_s, end_s]]}}`, class a 0-based index or a name.

Detections, read by `read_detections`:
1. THUMOS text: lines `video start_s end_s class_id score`.
2. ActivityNet results: `{"results": {video: [{"label", "segment", "score"}]}}`.
3. What `detect --json` writes: `{"videos": [{"video", "detections": [{"label", "start_s", "end_s", "score"}]}]}`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import write_json

INFDET_CLASSES = ("drop", "fight", "hug")
INFDET_CLASS_IDS = dict(enumerate(INFDET_CLASSES, start=1))  # where no detclasslist.txt says otherwise
CLASS_LIST = "detclasslist.txt"


@dataclass(frozen=True)
class Instance:
    """One annotated action; times in seconds from the clip's start."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Clip:
    """A video's annotation; `duration_s` and `subset` are None where the format has none. Instances in file order."""

    name: str
    duration_s: float | None
    subset: str | None
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class ScoredInstance:
    """One detection in a named video, as detection files hold it; times in seconds, a higher score is surer."""

    video: str
    label: str
    start_s: float
    end_s: float
    score: float


def read_annotations(
    path: Path | str, subset: str | None = None, classes: Sequence[str] = INFDET_CLASSES
) -> tuple[Clip, ...]:
    """Read a folder of THUMOS text files, an ActivityNet JSON file or an InfDet JSON file.

    subset: keep only clips of this subset, named as the file names it (for text files the suffix `test`, `val` or
    `train`). classes: names for the class indices of InfDet JSON. Clips come in order of first appearance, class files
    by name; instances within a clip keep their file's order, which the THUMOS'14 evaluation depends on.

    Raises AnnotationError naming file and line, or file, clip and index: for a missing file, an empty folder, malformed
    rows, numbers that are not finite, end ≤ start, an unknown class index, and a subset without any clip.
    """
    if (path := Path(path)).is_dir():
        return _read_class_files(path, subset)
    root = _load_json(path)
    database = root.get("database", root) if isinstance(root, dict) else None
    if not isinstance(database, dict) or not database:
        raise AnnotationError(f"{path}: no clips found, expected ActivityNet ('database') or InfDet JSON")
    key = "annotations" if "database" in root else "actions"
    clips = [_json_clip(path, name, entry, key, classes) for name, entry in database.items()]
    kept = tuple(clip for clip in clips if subset in (None, clip.subset))
    if not kept:
        found = ", ".join(sorted({str(clip.subset) for clip in clips}))
        raise AnnotationError(f"{path}: no clip of subset '{subset}'; subsets there are {found}")
    return kept


def _read_class_files(folder: Path, subset: str | None) -> tuple[Clip, ...]:
    files = [path for path in sorted(folder.glob("*.txt")) if path.name != CLASS_LIST]
    if not files:
        raise AnnotationError(f"{folder}: no annotation files, expected one .txt per class")
    instances: dict[str, list[Instance]] = {}
    subsets: dict[str, str | None] = {}
    for path in files:
        match = re.fullmatch(r"(.+)_(test|val|train)", path.stem)
        label, part = match.groups() if match else (path.stem, None)
        if subset not in (None, part):
            continue
        for where, row in _rows(path, "video start_s end_s"):
            name = row[0]
            if subsets.setdefault(name, part) != part:
                raise AnnotationError(f"{where}: '{name}' is in subsets {subsets[name]} and {part}; choose one subset")
            instances.setdefault(name, []).append(Instance(label, *_interval(where, row[1], row[2])))
    if not instances:
        raise AnnotationError(f"{folder}: no instances of subset '{subset or 'any'}' in {len(files)} .txt files")
    return tuple(Clip(name, None, subsets[name], tuple(found)) for name, found in instances.items())


def _json_clip(path: Path, name: str, entry: Any, key: str, classes: Sequence[str]) -> Clip:
    where = f"{path}: clip '{name}'"
    rows = _field(where, entry, key, list)
    duration = entry.get("duration")
    if duration is not None:
        duration = _interval(f"{where}, duration", 0, duration)[1]
    subset = entry.get("subset")
    if not isinstance(subset, str | None):
        raise AnnotationError(f"{where}: subset is {subset!r}, expected a text")
    instances = []
    for index, row in enumerate(rows):
        at = f"{where}, {key}[{index}]"
        if key == "annotations":
            label, start, end = _field(at, row, "label", str), *_segment(at, row)
        else:
            if not isinstance(row, list) or len(row) != 3:
                raise AnnotationError(f"{at}: got {row!r}, expected [class, start_s, end_s]")
            label, start, end = _class_name(at, row[0], classes), row[1], row[2]
        instances.append(Instance(label, *_interval(at, start, end)))
    return Clip(name, duration, subset, tuple(instances))


def _class_name(where: str, value: Any, classes: Sequence[str]) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return classes[value]
    raise AnnotationError(f"{where}: unknown class {value!r}, expected a name or an index 0 to {len(classes) - 1}")


def read_class_ids(folder: Path | str) -> dict[int, str]:
    """Class names by the ids of THUMOS detection files, from the folder's `detclasslist.txt`.

    A folder without that file gets InfDet's ids: drop 1, fight 2, hug 3. Raises AnnotationError for a missing folder,
    a malformed line, a repeated id or name, and an empty list.
    """
    path = Path(folder) / CLASS_LIST
    if not path.parent.is_dir():
        raise AnnotationError(f"{folder}: no such folder")
    if not path.exists():
        return dict(INFDET_CLASS_IDS)
    ids: dict[int, str] = {}
    for where, (number, name) in _rows(path, "id name"):
        key = _class_id(where, number)
        if key in ids or name in ids.values():
            raise AnnotationError(f"{where}: class {number} {name} repeats an id or a name")
        ids[key] = name
    if not ids:
        raise AnnotationError(f"{path}: no classes, expected lines 'id name'")
    return ids


def read_detections(path: Path | str, class_ids: dict[int, str] | None = None) -> list[ScoredInstance]:
    """Read detections in file order from THUMOS text, or from a `.json` file in one of the two JSON formats.

    class_ids: names for the numeric ids of text files (see `read_class_ids`); None means InfDet's drop 1, fight 2,
    hug 3. A file without detections gives an empty list. Raises AnnotationError naming file and line, or file, video
    and index: for a missing file, malformed rows, numbers that are not finite, end ≤ start and an unknown class id.
    """
    if (path := Path(path)).suffix.lower() == ".json":
        return list(_json_detections(path))
    ids = INFDET_CLASS_IDS if class_ids is None else class_ids
    detections = []
    for where, (video, start, end, number, score) in _rows(path, "video start_s end_s class_id score"):
        label = ids.get(_class_id(where, number))
        if label is None:
            known = ", ".join(f"{key} {name}" for key, name in sorted(ids.items()))
            raise AnnotationError(f"{where}: unknown class id {number}; known are {known}")
        detections.append(ScoredInstance(video, label, *_interval(where, start, end), _number(where, score)))
    return detections


def _json_detections(path: Path) -> Iterator[ScoredInstance]:
    root = _load_json(path)
    videos: list[tuple[str, list[Any]]] = []
    if isinstance(root, dict) and "results" in root:
        results = _field(str(path), root, "results", dict)
        videos = [(name, _field(f"{path}: results", results, name, list)) for name in results]
    elif isinstance(root, dict) and "videos" in root:
        for index, entry in enumerate(_field(str(path), root, "videos", list)):
            at = f"{path}: videos[{index}]"
            videos.append((_field(at, entry, "video", str), _field(at, entry, "detections", list)))
    else:
        raise AnnotationError(f"{path}: no detections found, expected a 'results' or a 'videos' entry")
    for video, rows in videos:
        for index, row in enumerate(rows):
            at = f"{path}: video '{video}', detection {index}"
            label = _field(at, row, "label", str)
            ends = _segment(at, row) if "results" in root else (row.get("start_s"), row.get("end_s"))
            yield ScoredInstance(video, label, *_interval(at, *ends), _number(f"{at}, score", row.get("score")))


def write_activitynet(path: Path | str, clips: Iterable[Clip]) -> None:
    """Write clips as ActivityNet JSON; `read_annotations` reads them back equal (None fields are left out).

    Raises AnnotationError for a repeated clip name and for times that could not be read back.
    """
    database: dict[str, Any] = {}
    for clip in clips:
        where = f"{path}: clip '{clip.name}'"
        if clip.name in database:
            raise AnnotationError(f"{where} comes twice")
        known = {"subset": clip.subset, "duration": clip.duration_s}
        rows = [{"label": i.label, "segment": _interval(where, i.start_s, i.end_s)} for i in clip.instances]
        database[clip.name] = {key: value for key, value in known.items() if value is not None} | {"annotations": rows}
    write_json(path, {"database": database})


def write_detections_activitynet(path: Path | str, detections: Iterable[ScoredInstance]) -> None:
    """Write detections as ActivityNet results JSON, videos in order of first appearance.

    Raises AnnotationError for times or scores that could not be read back.
    """
    results: dict[str, list[Any]] = {}
    for found in detections:
        where = f"{path}: video '{found.video}'"
        segment = _interval(where, found.start_s, found.end_s)
        row = {"label": found.label, "score": _number(where, found.score), "segment": segment}
        results.setdefault(found.video, []).append(row)
    write_json(path, {"version": "VERSION 1.3", "results": results, "external_data": {}})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read: {error}") from None


def _rows(path: Path, form: str) -> Iterator[tuple[str, list[str]]]:
    """Where each line that is not blank stands, and its fields, as many as the form names."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        row = line.split()
        if row:
            if len(row) != len(form.split()):
                raise AnnotationError(f"{path}:{number}: got '{line.strip()}', expected '{form}'")
            yield f"{path}:{number}", row


def _load_json(path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise AnnotationError(f"{path}: key '{twice}' comes twice")
        return found

    try:
        return json.loads(_text(path), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None


def _field(where: str, entry: Any, key: str, kind: type) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise AnnotationError(f"{where}: '{key}' is {value!r}, expected a {kind.__name__}")
    return value


def _segment(where: str, row: dict[str, Any]) -> tuple[Any, Any]:
    segment = _field(where, row, "segment", list)
    if len(segment) != 2:
        raise AnnotationError(f"{where}: segment is {segment!r}, expected [start_s, end_s]")
    return segment[0], segment[1]


def _class_id(where: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise AnnotationError(f"{where}: class id is '{value}', expected a whole number") from None


def _number(where: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        raise AnnotationError(f"{where}: got {value!r}, expected a finite number")
    return number


def _interval(where: str, start: Any, end: Any) -> tuple[float, float]:
    start_s, end_s = _number(where, start), _number(where, end)
    if end_s <= start_s:
        raise AnnotationError(f"{where}: end {end_s} s is not after start {start_s} s")
    return start_s, end_s

"""Two JSON forms of annotations, each a mapping of clip names.

1. ActivityNet: `{"database": {name: {"subset", "duration", "annotations": [{"label", "segment": [s, e]}]}}}`.
2. InfDet: `{name: {"subset", "duration", "actions": [[class, start_s, end_s]]}}`, class a 0-based index or a name.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats.parsing import Report, at, field, interval, number, refuse, segment
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import write_json


def clips_from_json(path: Path, root: Any, classes: Sequence[str], report: Report = refuse) -> list[Clip]:
    """The clips of either form, in the file's order; `classes` names InfDet's class indices."""
    database = root.get("database", root) if isinstance(root, dict) else None
    if not isinstance(database, dict) or not database:
        raise AnnotationError(f"{path}: no clips found, expected ActivityNet ('database'), InfDet or Label Studio JSON")
    key = "annotations" if "database" in root else "actions"
    clips = []
    for name, entry in database.items():
        try:
            clips.append(_clip(path, name, entry, key, classes, report))
        except AnnotationError as error:
            report(error)
    return clips


def _clip(path: Path, name: str, entry: Any, key: str, classes: Sequence[str], report: Report) -> Clip:
    where = f"{at(path, entry)}: clip '{name}'"
    rows = field(where, entry, key, list)
    duration = entry.get("duration")
    if duration is not None:
        duration = interval(f"{where}, duration", 0, duration)[1]
    subset = entry.get("subset")
    if not isinstance(subset, str | None):
        raise AnnotationError(f"{where}: subset is {subset!r}, expected a text")
    instances = []
    for index, row in enumerate(rows):
        place = f"{at(path, row)}: clip '{name}', {key}[{index}]"
        try:
            if key == "annotations":
                label, start, end = field(place, row, "label", str), *segment(place, row)
            else:
                if not isinstance(row, list) or len(row) != 3:
                    raise AnnotationError(f"{place}: got {row!r}, expected [class, start_s, end_s]")
                label, start, end = _class_name(place, row[0], classes), row[1], row[2]
            instances.append(Instance(label, *interval(place, start, end), place))
        except AnnotationError as error:
            report(error)
    return Clip(name, duration, subset, tuple(instances), where)


def _class_name(where: str, value: Any, classes: Sequence[str]) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return classes[value]
    raise AnnotationError(f"{where}: unknown class {value!r}, expected a name or an index 0 to {len(classes) - 1}")


def write_activitynet(path: Path | str, clips: Iterable[Clip], classes: Sequence[str] | None = None) -> list[str]:
    """Write clips as ActivityNet JSON, which holds all there is: `read_annotations` reads them back equal.

    classes: listed in the file where given, for the order of a network's outputs. Returns what the format cannot hold:
    nothing. Raises AnnotationError for a repeated clip name and for times that could not be read back.
    """
    head = {} if classes is None else {"classes": list(classes)}
    database = {
        name: known | {"annotations": [{"label": i.label, "segment": [i.start_s, i.end_s]} for i in instances]}
        for name, known, instances in _entries(path, clips)
    }
    write_json(path, head | {"database": database})
    return []


def write_infdet(path: Path | str, clips: Iterable[Clip], classes: Sequence[str]) -> list[str]:
    """Write clips as InfDet JSON, classes as 0-based indices into `classes`; returns what the format cannot hold.

    Raises AnnotationError as `write_activitynet` does, and for a label that is not one of the classes.
    """
    found = {}
    for name, known, instances in _entries(path, clips):
        for one in instances:
            if one.label not in classes:
                raise AnnotationError(f"clip '{name}': class '{one.label}' is not one of {', '.join(classes)}")
        found[name] = known | {"actions": [[classes.index(i.label), i.start_s, i.end_s] for i in instances]}
    write_json(path, found)
    return [f"class names (indices count {', '.join(classes)})"]


def _entries(path: Path | str, clips: Iterable[Clip]) -> Iterator[tuple[str, dict[str, Any], tuple[Instance, ...]]]:
    """Name, what is known of subset and duration, and instances of each clip, checked."""
    seen = set()
    for clip in clips:
        where = f"{path}: clip '{clip.name}'"
        if clip.name in seen:
            raise AnnotationError(f"{where} comes twice")
        seen.add(clip.name)
        for one in clip.instances:
            interval(where, one.start_s, one.end_s)
        if clip.duration_s is not None:
            number(where, clip.duration_s)
        known = {"subset": clip.subset, "duration": clip.duration_s}
        yield clip.name, {key: value for key, value in known.items() if value is not None}, clip.instances

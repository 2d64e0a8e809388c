"""ActivityNet JSON, which stores everything that a `Clip` does.

`{"database": {name: {"subset", "duration", "annotations": [{"label", "segment": [start_s, end_s]}]}}}`, and optionally
`"classes"`, the class names in the order of a network's outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats.parsing import (
    FormatOptions,
    at,
    field,
    interval,
    number,
    read_instance,
    segment,
)
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import write_json

# (place in the file, row) → label, start, end
RowReader = Callable[[str, Any], tuple[str, Any, Any]]


def recognises(path: Path, content: Any) -> bool:
    return isinstance(content, dict) and "database" in content


def read(path: Path, content: Any, options: FormatOptions) -> list[Clip]:
    def read_row(where: str, row: Any) -> tuple[str, Any, Any]:
        return (field(where, row, "label", str), *segment(where, row))

    return read_clips(path, field(str(path), content, "database", dict), "annotations", read_row, options)


def write(path: Path, clips: Sequence[Clip], options: FormatOptions) -> list[str]:
    database = {
        name: known | {"annotations": [{"label": i.label, "segment": [i.start_s, i.end_s]} for i in instances]}
        for name, known, instances in checked_entries(path, clips)
    }
    write_json(path, {"classes": list(options.classes), "database": database})
    return []


def read_clips(path: Path, entries: Any, key: str, read_row: RowReader, options: FormatOptions) -> list[Clip]:
    """The clips of a JSON object of entries by name; an entry's actions are the list `key`."""
    clips = []
    for name, entry in entries.items():
        try:
            clips.append(_clip(path, name, entry, key, read_row, options))
        except AnnotationError as error:
            options.report(error)
    return clips


def _clip(path: Path, name: str, entry: Any, key: str, read_row: RowReader, options: FormatOptions) -> Clip:
    where = f"{at(path, entry)}: clip '{name}'"
    rows = field(where, entry, key, list)
    duration, subset = entry.get("duration"), entry.get("subset")
    if duration is not None:
        duration = interval(f"{where}, duration", 0, duration)[1]
    if not isinstance(subset, str | None):
        raise AnnotationError(f"{where}: subset is {subset!r}, expected a text")
    instances: list[Instance] = []
    for index, row in enumerate(rows):
        place = f"{at(path, row)}: clip '{name}', {key}[{index}]"
        try:
            label, start, end = read_row(place, row)
        except AnnotationError as error:
            options.report(error)
        else:
            instances += read_instance(place, label, start, end, options)
    return Clip(name, duration, subset, tuple(instances), where)


def checked_entries(path: Path, clips: Sequence[Clip]) -> Iterator[tuple[str, dict[str, Any], tuple[Instance, ...]]]:
    """Name, known subset and duration, and instances of each clip.

    Raises AnnotationError for a repeated name and for times that could not be read back.
    """
    seen = set()
    for clip in clips:
        where = f"{path}: clip '{clip.name}'"
        if clip.name in seen:
            raise AnnotationError(f"{where} occurs twice")
        seen.add(clip.name)
        for one in clip.instances:
            interval(where, one.start_s, one.end_s)
        if clip.duration_s is not None:
            number(where, clip.duration_s)
        known = {"subset": clip.subset, "duration": clip.duration_s}
        yield clip.name, {key: value for key, value in known.items() if value is not None}, clip.instances

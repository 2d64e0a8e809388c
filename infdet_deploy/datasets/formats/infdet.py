"""InfDet JSON: `{name: {"subset", "duration", "actions": [[class, start_s, end_s]]}}`; class: 0-based index or name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats.activitynet import checked_entries, read_clips
from infdet_deploy.datasets.formats.parsing import FormatOptions
from infdet_deploy.datasets.instances import AMBIGUOUS, Clip
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import write_json


def recognises(path: Path, content: Any) -> bool:
    entries = content.values() if isinstance(content, dict) and "database" not in content else ()
    return any(isinstance(entry, dict) and "actions" in entry for entry in entries)


def read(path: Path, content: Any, options: FormatOptions) -> list[Clip]:
    def read_row(where: str, row: Any) -> tuple[str, Any, Any]:
        if not isinstance(row, list) or len(row) != 3:
            raise AnnotationError(f"{where}: got {row!r}, expected [class, start_s, end_s]")
        return _class_name(where, row[0], options.classes), row[1], row[2]

    return read_clips(path, content, "actions", read_row, options)


def write(path: Path, clips: Sequence[Clip], options: FormatOptions) -> list[str]:
    classes, entries = list(options.classes), {}

    def number(label: str) -> int | str:
        return classes.index(label) if label in classes else label

    for name, known, instances in checked_entries(path, clips):
        for one in instances:
            if one.label not in (*classes, AMBIGUOUS):
                raise AnnotationError(f"clip '{name}': class '{one.label}' is not one of {', '.join(classes)}")
        entries[name] = known | {"actions": [[number(i.label), i.start_s, i.end_s] for i in instances]}
    write_json(path, entries)
    return [f"class names (indices count {', '.join(classes)})"]


def _class_name(where: str, value: Any, classes: Sequence[str]) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return classes[value]
    raise AnnotationError(f"{where}: unknown class {value!r}, expected a name or an index 0 to {len(classes) - 1}")

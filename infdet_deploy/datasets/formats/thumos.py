"""THUMOS text: a folder with one file per class, `drop.txt` or `drop_test.txt`, lines `video start_s end_s`.

The folder's `detclasslist.txt` (lines `id name`) numbers the classes of detection files. `Ambiguous_test.txt` is no
class: detections that overlap its intervals are neither right nor wrong. Subfolders are not read.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats.parsing import FormatOptions, read_instance, read_rows, read_text
from infdet_deploy.datasets.instances import Clip, Instance, canonical_subset
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import whole_file, whole_folder
from infdet_deploy.text import visible

INFDET_CLASS_IDS = dict(enumerate(INFDET_CLASSES, start=1))  # used without a detclasslist.txt
CLASS_LIST = "detclasslist.txt"
_SUFFIXES = {None: "", "training": "_train", "validation": "_val", "testing": "_test"}


def recognises(path: Path, content: Any) -> bool:
    return path.is_dir() and bool(class_files(path))


def class_files(folder: Path) -> list[Path]:
    """The folder's class files by name: most of their lines end with a number, unlike a readme's."""
    return [path for path in sorted(folder.glob("*.txt")) if path.name != CLASS_LIST and _is_class_file(path)]


def _is_class_file(path: Path) -> bool:
    lines = [re.split(r"[\s,;]+", line.strip()) for line in read_text(path).splitlines() if line.strip()]
    numbers = 0
    for line in lines:
        with suppress(ValueError):
            float(line[-1])
            numbers += len(line) > 1
    return 2 * numbers > len(lines) or not lines


def read(path: Path, content: Any, options: FormatOptions) -> list[Clip]:
    instances: dict[tuple[str, str | None], list[Instance]] = {}
    for file in class_files(path):
        label, subset = label_of(file.stem)
        for where, (name, start, end) in read_rows(file, "video start_s end_s", options.report):
            for found in read_instance(where, label, start, end, options):
                instances.setdefault((name, subset), []).append(found)
    return [Clip(name, None, part, tuple(found), found[0].where) for (name, part), found in instances.items()]


def label_of(stem: str) -> tuple[str, str | None]:
    """Class and subset of a class file."""
    match = re.fullmatch(r"(.+)_(test|val|train)", stem)
    return (match[1], match[2]) if match else (stem, None)


def write(path: Path, clips: Sequence[Clip], options: FormatOptions) -> list[str]:
    """Also writes `detclasslist.txt`, with the classes numbered from 1."""
    lost: list[str] = []
    rows = {CLASS_LIST: [f"{index} {label}\n" for index, label in enumerate(options.classes, start=1)]}
    for kind, names in (("class", options.classes), ("clip", [clip.name for clip in clips])):
        for name in names:
            unsafe = kind == "class" and (name.startswith(".") or re.search(r"[/\\]", name))
            if len(name.split()) != 1 or visible(name) != name or unsafe:
                raise AnnotationError(
                    f"{kind} '{visible(name)}': names in THUMOS text cannot contain spaces or control characters, and "
                    f"those of classes no slashes and no dot at the start; rename the {kind}"
                )
    for clip in clips:
        if not clip.instances:
            lost.append(f"clip '{clip.name}' has no instances and so no line")
        subset = canonical_subset(clip.subset)
        if subset not in _SUFFIXES:
            lost.append(f"clip '{clip.name}': subset '{clip.subset}'")
        for one in clip.instances:
            line = f"{clip.name} {one.start_s!r} {one.end_s!r}\n"
            stem = f"{one.label}{_SUFFIXES.get(subset, '')}"
            if label_of(stem)[0] != one.label or stem == Path(CLASS_LIST).stem:
                raise AnnotationError(f"class '{one.label}': THUMOS text reads {stem}.txt otherwise; rename the class")
            rows.setdefault(f"{stem}.txt", []).append(line)
    if any(clip.duration_s is not None for clip in clips):
        lost.append("durations of clips")
    with whole_folder(path) as folder:
        for name, lines in rows.items():
            with whole_file(folder / name) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
    return lost


def read_class_ids(folder: Path | str) -> dict[int, str]:
    """Class names by the ids of THUMOS detection files, from the folder's `detclasslist.txt`.

    Without that file the ids are InfDet's: drop 1, fight 2, hug 3. Raises AnnotationError for a missing folder, a
    malformed line, a repeated id or name, and an empty list.
    """
    path = Path(folder) / CLASS_LIST
    if not path.parent.is_dir():
        raise AnnotationError(f"{folder}: no such folder")
    if not path.exists():
        return dict(INFDET_CLASS_IDS)
    ids: dict[int, str] = {}
    for where, (text, name) in read_rows(path, "id name"):
        key = class_id(where, text)
        if key in ids or name in ids.values():
            raise AnnotationError(f"{where}: class {text} {name} repeats an id or a name")
        ids[key] = name
    if not ids:
        raise AnnotationError(f"{path}: no classes, expected lines 'id name'")
    return ids


def class_id(where: str, value: str) -> int:
    """A class's number in a THUMOS file."""
    try:
        return int(value)
    except ValueError:
        raise AnnotationError(f"{where}: class id is '{value}', expected a whole number") from None

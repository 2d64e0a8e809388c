"""THUMOS text: a folder with one file per class, `drop.txt` or `drop_test.txt`, lines `video start_s end_s`.

The folder's `detclasslist.txt` (lines `id name`) numbers the classes of detection files. Subfolders are not read.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from infdet_deploy.datasets.formats.parsing import Report, interval, read_rows, refuse
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import whole_file

INFDET_CLASS_IDS = dict(enumerate(INFDET_CLASSES, start=1))  # where no detclasslist.txt says otherwise
CLASS_LIST = "detclasslist.txt"


def read_class_files(folder: Path, report: Report = refuse) -> list[Clip]:
    """All clips of a folder, in order of first appearance, files by name."""
    files = [path for path in sorted(folder.glob("*.txt")) if path.name != CLASS_LIST]
    if not files:
        raise AnnotationError(f"{folder}: no annotation files, expected one .txt per class")
    instances: dict[tuple[str, str | None], list[Instance]] = {}
    for path in files:
        match = re.fullmatch(r"(.+)_(test|val|train)", path.stem)
        label, subset = match.groups() if match else (path.stem, None)
        for where, (name, start, end) in read_rows(path, "video start_s end_s", report):
            try:
                found = Instance(label, *interval(where, start, end), where)
            except AnnotationError as error:
                report(error)
            else:
                instances.setdefault((name, subset), []).append(found)
    return [Clip(name, None, part, tuple(found), found[0].where) for (name, part), found in instances.items()]


def write_class_files(folder: Path | str, clips: Sequence[Clip], classes: Sequence[str]) -> list[str]:
    """Write one file per class and subset, and `detclasslist.txt`; returns what the format cannot hold, in words.

    classes: numbered from 1 in this order. Subsets `training`, `validation` and `testing` become the suffixes `train`,
    `val` and `test`; others have no place. Raises AnnotationError for clips that could not be read back.
    """
    folder, lost = Path(folder), []
    rows: dict[str, list[str]] = {}
    suffixes = {"training": "_train", "train": "_train", "validation": "_val", "val": "_val"}
    suffixes |= {"testing": "_test", "test": "_test"}
    for label in classes:
        if len(label.split()) != 1:
            raise AnnotationError(f"class '{label}': names in THUMOS text cannot hold spaces; rename the class")
    for clip in clips:
        if len(clip.name.split()) != 1:
            raise AnnotationError(f"clip '{clip.name}': names in THUMOS text cannot hold spaces; rename the clip")
        if not clip.instances:
            lost.append(f"clip '{clip.name}' has no instances and so no line")
        if clip.subset is not None and clip.subset not in suffixes:
            lost.append(f"clip '{clip.name}': subset '{clip.subset}'")
        for one in clip.instances:
            name = f"{one.label}{suffixes.get(clip.subset or '', '')}.txt"
            rows.setdefault(name, []).append(f"{clip.name} {one.start_s!r} {one.end_s!r}\n")
    if any(clip.duration_s is not None for clip in clips):
        lost.append("durations of clips")
    rows[CLASS_LIST] = [f"{index} {label}\n" for index, label in enumerate(classes, start=1)]
    for name, lines in rows.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    return lost


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

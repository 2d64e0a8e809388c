"""Reading text and JSON with errors that name the file and the line."""

import bisect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from infdet_deploy.console import say
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.errors import AnnotationError, reason
from infdet_deploy.files import regular_only
from infdet_deploy.text import visible

# Called with each entry that cannot be used: `refuse` stops reading, a checker collects the errors and continues.
Report = Callable[[AnnotationError], None]
FrameRate = Callable[[str], float | None]  # a clip's name → its frames per second, None if unknown


def refuse(error: AnnotationError) -> None:
    """The report of a strict reader: raise the error."""
    raise error


def note(text: str) -> None:
    """Print a note."""
    say(f"note: {text}")


@dataclass(frozen=True)
class FormatOptions:
    """classes: in the order of class indices. fps: for formats that count frames. report: called with each error.

    note: called with a line about each entry that is used in part. video_rate: `fps` is the videos', not the user's.
    """

    classes: Sequence[str]
    fps: FrameRate
    report: Report = refuse
    note: Callable[[str], None] = note
    video_rate: bool = False


def empty_subset(path: Path, subset: str, clips: Iterable[Clip]) -> AnnotationError:
    """The error for annotations without a clip of this subset."""
    found = ", ".join(sorted({str(clip.subset) for clip in clips}))
    return AnnotationError(f"{path}: no clip of subset '{subset}'; subsets there are {found}")


def read_text(path: Path) -> str:
    """A file's UTF-8 text. Raises AnnotationError for a missing or unreadable file."""
    try:
        with open(path, "rb", opener=regular_only) as file:
            return file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        utf16 = error.object[:2] in (b"\xff\xfe", b"\xfe\xff")
        encoding, line = "UTF-16" if utf16 else "CP1252", error.object[: error.start].count(b"\n") + 1
        raise AnnotationError(
            f"{path}:{line}: cannot be read: not UTF-8, perhaps {encoding}; "
            f"convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8{path.suffix}"
        ) from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {reason(error)}") from None


def read_rows(path: Path, columns: str, report: Report = refuse) -> Iterator[tuple[str, list[str]]]:
    """`path:line` and the fields of each line that is not blank; `columns` names the expected fields."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        row = line.split()
        if row and len(row) != len(columns.split()):
            report(AnnotationError(f"{path}:{number}: got '{line.strip()}', expected '{columns}'"))
        elif row:
            yield f"{path}:{number}", row


class _Object(dict[str, Any]):
    line: int


class _Array(list[Any]):
    line: int


class _Decoder(json.JSONDecoder):
    """Objects and arrays know the line on which they begin, which only Python's pure-Python scanner allows."""

    def __init__(self, path: Path, text: str, report: Report) -> None:
        super().__init__(object_pairs_hook=list)
        breaks = [index for index, character in enumerate(text) if character == "\n"]

        def located(kind: Any, parse: Callable[..., tuple[list[Any], int]]) -> Callable[..., Any]:
            def parse_with_line(state: Any, *rest: Any) -> tuple[Any, int]:
                content, end = parse(state, *rest)
                found = kind(content)
                found.line = bisect.bisect_left(breaks, state[1]) + 1
                if len(found) != len(content):
                    twice = Counter(key for key, _ in content).most_common(1)[0][0]
                    line = getattr(found[twice], "line", found.line)  # of its second occurrence
                    report(AnnotationError(f"{path}:{line}: key '{twice}' occurs twice"))
                return found, end

            return parse_with_line

        self.parse_object = located(_Object, json.decoder.JSONObject)  # type: ignore[attr-defined]
        self.parse_array = located(_Array, json.decoder.JSONArray)  # type: ignore[attr-defined]
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def load_json(path: Path, report: Report = refuse) -> Any:
    """A JSON file's content; see `at` for the line of an object or array. Reports repeated keys."""
    text = read_text(path)
    try:
        return _Decoder(path, text, report).decode(text)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise AnnotationError(f"{path}: not valid JSON (nested too deeply)") from None
    except ValueError:  # of Python's int, for thousands of digits
        raise AnnotationError(f"{path}: not valid JSON (a number is too long)") from None


def at(path: Path, entry: Any) -> str:
    """`path:line` of a JSON entry, or the path alone."""
    line = getattr(entry, "line", None)
    return f"{path}:{line}" if line else str(path)


def field(where: str, entry: Any, key: str, kind: type) -> Any:
    """`entry[key]`, which must be of this type."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise AnnotationError(f"{where}: '{key}' is {value!r}, expected a {kind.__name__}")
    return value


def segment(where: str, row: dict[str, Any]) -> tuple[Any, Any]:
    """The start and end of an ActivityNet segment."""
    ends = field(where, row, "segment", list)
    if len(ends) != 2:
        raise AnnotationError(f"{where}: segment is {ends!r}, expected [start_s, end_s]")
    return ends[0], ends[1]


def number(where: str, value: Any) -> float:
    """A finite number."""
    try:
        found = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not isfinite(found):
        raise AnnotationError(f"{where}: got {value!r}, expected a finite number")
    return found


def interval(where: str, start: Any, end: Any, empty: bool = False) -> tuple[float, float]:
    """Two finite times, the second after the first; with `empty` they may be equal."""
    start_s, end_s = number(where, start), number(where, end)
    if end_s < start_s or (end_s == start_s and not empty):
        raise AnnotationError(f"{where}: end {end_s} s is not after start {start_s} s")
    return start_s, end_s


def class_name(where: str, value: str, note: Callable[[str], None]) -> str:
    """A class's name without blanks around it, which are noted. Raises AnnotationError for an empty name."""
    name = re.sub(r"^[\s\ufeff\u200b]+|[\s\ufeff\u200b]+$", "", value)
    if not name:
        raise AnnotationError(f"{where}: the label is empty; name a class or remove the entry")
    if visible(name) != name:
        raise AnnotationError(f"{where}: label '{visible(name)}' has control characters or is not UTF-8; rename it")
    if name != value:
        note(f"{where}: label '{visible(value)}' is taken as '{name}'")
    return name


def read_instance(where: str, label: str, start: Any, end: Any, options: FormatOptions) -> Iterator[Instance]:
    """The instance of a row. None for a row of no length, with a note, and for a wrong row, which is reported."""
    try:
        start_s, end_s = interval(where, start, end, empty=True)
        label = class_name(where, label, options.note)
    except AnnotationError as error:
        options.report(error)
        return
    if start_s == end_s:
        options.note(f"{where}: {label} at {start_s:g} s has no length; left out")
    else:
        yield Instance(label, start_s, end_s, where)

"""The published thermal recordings → a data set folder: python data_set.py PUBLISHED OUT --test-day DATE.

PUBLISHED holds `annotation/annotation_DATE_human.csv` and, for each day, the logs `DATE/raw/NAME.csv`, or one archive
`DATE.npz` with the arrays `NAME` [T, 16, 16] in °C and `NAME.time_s` [T] in seconds.

OUT becomes a data set that `infdet-deploy train` and `eval` read: the test day is the subset `testing`, every other day
`training`, so no test person and no test background is ever seen in training. The labels that are no detection classes
go into OUT/segments.json.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy import AnnotationError, InfdetError, UsageError, VideoError

CLASSES = ("fall", "sitdown", "standup")
# Published tags → classes. The two kinds of fall are one class; each annotated row is one action.
ACTIONS = {"falling1": "fall", "falling2": "fall", "sitdown": "sitdown", "standup": "standup"}
SIDE = 16  # pixels of the sensor in each direction
_FIRST_PIXEL = 2  # column of a log: time in seconds, the sensor's own temperature, then the pixels
_HEADER_LINES = 2  # the recording's date; the names of the columns


@dataclass(frozen=True)
class Segment:
    """One row of the published annotations; times in seconds from the recording's first frame."""

    label: str
    start_s: float
    end_s: float
    person: str


@dataclass(frozen=True)
class Recording:
    """frames: float32 [T, 16, 16], °C. times_s: float64 [T], increasing, on the sensor's clock."""

    name: str
    frames: NDArray[np.float32]
    times_s: NDArray[np.float64]

    @property
    def interval_s(self) -> float:
        """How long a frame lasts: the median distance of two frames."""
        return float(np.median(np.diff(self.times_s)))

    @property
    def duration_s(self) -> float:
        return float(self.times_s[-1] - self.times_s[0]) + self.interval_s


def make_data_set(published: Path, out: Path, test_day: str) -> dict[str, int]:
    """Write the data set and return the number of recordings of each day.

    Raises UsageError where a day or its files are missing, AnnotationError for an annotation that fits no frames.
    """
    days = days_in(published)
    if test_day not in days:
        raise UsageError(f"--test-day is {test_day}, {published} has annotations of {', '.join(days) or 'no day'}")
    if len(days) < 2:
        raise UsageError(f"{published} has annotations of {test_day} alone; training needs another day")
    (out / "videos").mkdir(parents=True, exist_ok=True)
    database: dict[str, object] = {}
    segments: dict[str, list[Segment]] = {}
    counts: dict[str, int] = {}
    for day in days:
        for recording, found in read_annotated(published, day):
            name = recording.name
            np.savez(out / "videos" / f"{name}.npz", frames=recording.frames, times_s=recording.times_s)
            segments[name] = found
            database[name] = _entry(recording, found, "testing" if day == test_day else "training")
            counts[day] = counts.get(day, 0) + 1
    _write_json(out / "segments.json", {name: [asdict(one) for one in found] for name, found in segments.items()})
    _write_json(out / "annotations.json", {"classes": list(CLASSES), "database": database})
    return counts


def days_in(published: Path) -> list[str]:
    """The days that have annotations, in order."""
    files = (published / "annotation").glob("annotation_*_human.csv")
    return sorted(file.name.split("_")[1] for file in files)


def read_annotated(published: Path, day: str) -> Iterator[tuple[Recording, list[Segment]]]:
    """The recordings of a day with their segments.

    Raises UsageError where files are missing, AnnotationError for an annotation that fits no frames.
    """
    rows = _annotation_rows(published, day)
    for recording in read_day(published, day):
        yield recording, segments_of(recording, rows.pop(recording.name, []))
    if rows:
        raise AnnotationError(f"{published}: {day} has annotations of {min(rows)}, but no such recording")


def read_day(published: Path, day: str) -> Iterator[Recording]:
    """The recordings of a day by name. Raises UsageError if there are none."""
    archive = published / f"{day}.npz"
    logs = sorted((published / day / "raw").glob("*.csv"))
    if logs:
        yield from map(read_log, logs)
    elif archive.is_file():
        with np.load(archive) as arrays:
            for name in sorted(name for name in arrays.files if f"{name}.time_s" in arrays.files):
                yield Recording(name, arrays[name].astype(np.float32), arrays[f"{name}.time_s"].astype(np.float64))
    else:
        raise UsageError(f"{published} has no recordings of {day}; expected {day}/raw/*.csv or {day}.npz")


def read_log(path: Path) -> Recording:
    """Read one published log. Raises VideoError if it is not one."""
    columns = [0, *range(_FIRST_PIXEL, _FIRST_PIXEL + SIDE * SIDE)]
    try:
        values = np.loadtxt(path, delimiter=",", skiprows=_HEADER_LINES, usecols=columns, ndmin=2)
    except ValueError as error:
        raise VideoError(f"{path}: not a log of {SIDE}×{SIDE} pixels ({error})") from None
    return Recording(path.stem, values[:, 1:].reshape(-1, SIDE, SIDE).astype(np.float32), values[:, 0])


def segments_of(recording: Recording, rows: list[tuple[int, int, str, str]]) -> list[Segment]:
    """Annotated rows (first frame, last frame, tag, person) in seconds, by start.

    A segment ends one frame interval after the time stamp of its last frame, which still belongs to it.
    """
    times_s = recording.times_s - recording.times_s[0]
    found = []
    for first, last, tag, person in rows:
        if not 0 <= first <= last < len(times_s):
            what = f"{recording.name}: {tag} from frame {first} to {last}"
            raise AnnotationError(f"{what}; the recording has frames 0 to {len(times_s) - 1}")
        end_s = float(times_s[last]) + recording.interval_s
        found.append(Segment(tag, round(float(times_s[first]), 4), round(end_s, 4), person))
    return sorted(found, key=lambda segment: segment.start_s)


def _annotation_rows(published: Path, day: str) -> dict[str, list[tuple[int, int, str, str]]]:
    """Rows (first frame, last frame, tag, person) of a day, by recording."""
    path = published / "annotation" / f"annotation_{day}_human.csv"
    rows: dict[str, list[tuple[int, int, str, str]]] = {}
    for line, cells in enumerate(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()), 1):
        try:
            file, first, last, tag, person = (cell.strip() for cell in cells)
            rows.setdefault(Path(file).stem, []).append((int(first), int(last), tag, person))
        except ValueError:
            raise AnnotationError(f"{path}: line {line} is not: file, first frame, last frame, tag, person") from None
    return rows


def _entry(recording: Recording, segments: list[Segment], subset: str) -> dict[str, object]:
    """A recording's entry of annotations.json, with its actions only."""
    actions = [
        {"label": ACTIONS[one.label], "segment": [one.start_s, one.end_s]} for one in segments if one.label in ACTIONS
    ]
    return {"subset": subset, "duration": round(recording.duration_s, 4), "annotations": actions}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a data set of the published thermal recordings.")
    parser.add_argument("published", type=Path, help="the published folder")
    parser.add_argument("out", type=Path, help="the data set to write")
    parser.add_argument("--test-day", required=True, help="the day that is not trained on, such as 20170209")
    options = parser.parse_args()
    try:
        counts = make_data_set(options.published, options.out, options.test_day)
    except InfdetError as error:
        parser.exit(error.exit_status, f"{error}\n")
    print(f"{options.out}: " + ", ".join(f"{day} {count} recordings" for day, count in counts.items()))


if __name__ == "__main__":
    main()

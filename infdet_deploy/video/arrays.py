"""Thermal arrays: temperatures of low-resolution sensors, from `.npy`, `.npz` and CSV files or from Python.

Temperatures become hundredths of a kelvin, as radiometric cameras store them, so that everything after the reader is
the same for both. Frames keep the times at which the sensor measured them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isqrt, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError, reason
from infdet_deploy.video.sensor import hold_warm_up, replace_dead_pixels
from infdet_deploy.video.timing import RawFrame

COUNTS_PER_KELVIN = 100
ZERO_CELSIUS_K = 273.15
ARRAY_FPS = 10.0  # for arrays without times
# Rows and columns of common sensors by their number of pixels; other numbers must be squares.
SENSORS = {192: (12, 16), 768: (24, 32), 4800: (60, 80), 4960: (62, 80), 19200: (120, 160)}
_FEWEST_COLUMNS = 16  # shorter lines are not rows of pixels
_TIMES = ("time", "times", "time_s", "times_s", "timestamp", "timestamps", "timestamps_s", "t")
_TIME_HEADER = re.compile(r"^(time|date|t|sec)|stamp", re.IGNORECASE)
_PIXEL_HEADER = re.compile(r"^(p|px|pix|pixel)?[ _]?\d+([_x]\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class ThermalArray:
    """A recording of a thermal sensor in memory; `read_video` and `Detector` read it like a file.

    frames: [T, H, W], any H and W. Floats are temperatures in °C or K (above 150 in the median), uint16 counts,
    uint8 grey levels. times_s: [T], seconds on any clock, None if unknown. fps: frames per second where there are no
    times; default: 10. name: what detections are reported for.

    Raises VideoError for other shapes and types, and for another number of times.
    """

    frames: NDArray[Any]
    times_s: NDArray[np.float64] | None = None
    fps: float | None = None
    name: str = "array"

    def __post_init__(self) -> None:
        if not isinstance(self.frames, np.ndarray):
            raise VideoError(f"{self.name}: a {type(self.frames).__name__}; expected a NumPy array [T, H, W]")
        shape, dtype = self.frames.shape, self.frames.dtype
        if len(shape) != 3 or 0 in shape:
            raise VideoError(f"{self.name}: an array of shape {list(shape)}; expected frames [T, H, W]")
        if dtype.kind != "f" and not (dtype.kind == "u" and dtype.itemsize <= 2):
            raise VideoError(
                f"{self.name}: an array of {dtype}; expected temperatures as floats, counts as uint16 or grey levels "
                "as uint8"
            )
        if self.times_s is not None and np.shape(self.times_s) != shape[:1]:
            raise VideoError(
                f"{self.name}: {np.size(self.times_s)} times for {shape[0]} frames; expected one per frame"
            )
        if self.fps is not None and not 0 < self.fps < np.inf:
            raise VideoError(f"{self.name}: fps is {self.fps}; expected frames per second, such as 10")

    def read(self) -> Iterator[RawFrame]:
        """The frames: uint8, or uint16 for counts and temperatures; see `to_counts`.

        Warm-up frames and dead pixels are replaced; the first frame's note says so.
        """
        frames = self.frames
        notes: list[str] = []
        if frames.dtype.kind == "f":
            frames, notes = _cleaned(frames, self.name)
            frames = to_counts(frames, self.name)
        frames = frames.astype(frames.dtype.newbyteorder("="), copy=False)
        times, rate = np.full(len(frames), nan), self.fps or ARRAY_FPS
        if self.times_s is not None and len(frames) > 1:
            spread = spread_times(np.asarray(self.times_s, np.float64))
            if spread is None:
                notes.append(f"the times do not increase; {rate:g} frames/s is assumed")
            else:
                times = spread
                if not np.array_equal(spread, self.times_s):
                    notes.append("some times repeat; their frames are spaced evenly")
        declared = rate if np.isnan(times).any() else None
        for index, (frame, time_s) in enumerate(zip(frames, times, strict=True)):
            yield RawFrame(frame, float(time_s), declared, "" if index else "; ".join(notes))


def spread_times(times_s: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Times [T], T ≥ 2, in which frames with an equal time are spaced evenly up to the next time.

    A clock of whole seconds gives many equal times. None where a time is missing or lower than the one before, and
    where all are equal.
    """
    if not (np.isfinite(times_s).all() and _increases(times_s)):
        return None
    first = np.flatnonzero(np.diff(times_s, prepend=-np.inf) > 0)
    index = np.arange(len(times_s))
    found = np.interp(index, first, times_s[first])
    step = (times_s[-1] - times_s[0]) / first[-1]
    after = index > first[-1]
    found[after] += step * (index[after] - first[-1])
    return found


def _increases(times_s: NDArray[np.float64]) -> bool:
    """Whether no time [T] is lower than the one before, and not all are equal."""
    return bool((np.diff(times_s) >= 0).all() and times_s[-1] > times_s[0])


def _cleaned(frames: NDArray[np.floating[Any]], name: str) -> tuple[NDArray[np.floating[Any]], list[str]]:
    if not np.isfinite(frames).any():
        raise VideoError(f"{name}: no value is a number; expected temperatures in °C or K")
    frames, dead = replace_dead_pixels(frames)
    frames, held = hold_warm_up(frames)
    notes = []
    if held:
        notes.append(f"the first {held} frames are sensor warm-up; frame {held} replaces them")
    if dead:
        notes.append(f"dead pixels replaced by their neighbours' median ({len(dead)}): {', '.join(map(str, dead[:5]))}")
    return frames, notes


def to_counts(frames: NDArray[np.floating[Any]], name: str = "array") -> NDArray[np.uint16]:
    """Temperatures [T, H, W] in °C, or in K where their median is above 150 → hundredths of a kelvin, uint16.

    Raises VideoError for temperatures below absolute zero or above 655 K.
    """
    middle = float(np.nanmedian(frames))
    # float32 first: a log's text and an archive's array then give the same counts
    kelvin = frames.astype(np.float32).astype(np.float64) + (0.0 if middle > 150 else ZERO_CELSIUS_K)
    low, high = float(np.nanmin(kelvin)), float(np.nanmax(kelvin))
    if not (low >= 0 and high * COUNTS_PER_KELVIN <= np.iinfo(np.uint16).max):
        raise VideoError(
            f"{name}: values from {np.nanmin(frames):g} to {np.nanmax(frames):g}; expected temperatures in °C or K. "
            "Give raw counts as uint16"
        )
    return np.rint(kelvin * COUNTS_PER_KELVIN).astype(np.uint16)


def read_npy(path: Path) -> Iterator[RawFrame]:
    """Read one array [T, H, W]; see `ThermalArray`. Raises VideoError."""
    (frames,) = _loaded(path).values()
    yield from ThermalArray(frames, name=str(path)).read()


def read_npz(path: Path) -> Iterator[RawFrame]:
    """Read an archive with one array [T, H, W] and perhaps its times [T] in seconds, under any names.

    Raises VideoError where it is not clear which array is which.
    """
    found = _loaded(path)
    clips = {name: array for name, array in found.items() if array.ndim == 3}
    if len(clips) != 1:
        what = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items()) or "nothing"
        raise VideoError(f"{path}: contains {what}; expected one array [T, H, W], and perhaps its times [T]")
    (frames,) = clips.values()
    rows = {key: array for key, array in found.items() if array.shape == (len(frames),) and array.dtype.kind in "fiu"}
    named = [key for key in rows if key.lower().rpartition(".")[2] in _TIMES] or list(rows)
    times = rows[named[0]].astype(np.float64) if named else None
    yield from ThermalArray(frames, times, name=str(path)).read()


def _loaded(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in a NumPy file by name; `array` for the one of a .npy file."""
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"array": content}
        with content:
            return {name: content[name] for name in content.files}
    except Exception as error:  # damaged bytes raise errors of many types
        raise VideoError(f"{path}: not a readable NumPy file ({reason(error)}); expected an array [T, H, W]") from None


def read_csv(path: Path) -> Iterator[RawFrame]:
    """Read a sensor's log: a row a frame, its time and other columns first, then the pixels row by row.

    Lines before the first row of numbers are a header. The pixels are the last columns, as many as a known sensor or
    the largest square has; an empty cell is a missing value. The time is a column before the pixels that increases, by
    preference one whose header names a time: seconds, milliseconds where the header says ms or values are above 1e11,
    or a date and time.

    Raises VideoError for a file without such rows, and for a row of another length, naming its line.
    """
    names, rows = _numeric_rows(path)
    first, shape = _pixels(path, names, len(rows[0]))
    try:
        values = np.array([[cell or "nan" for cell in row[first:]] for row in rows], np.float64)
    except ValueError as error:
        raise VideoError(f"{path}: {reason(error)}; expected temperatures from column {first + 1} on") from None
    named = [index for index in range(first) if names and _TIME_HEADER.search(names[index])]
    columns = [*named, *(index for index in range(first) if index not in named)]
    found = (_seconds([row[index] for row in rows], names[index] if names else "") for index in columns)
    times = next((times for times in found if times is not None and _increases(times)), None)
    yield from ThermalArray(values.reshape(-1, *shape), times, name=str(path)).read()


def _numeric_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header's names, empty without a header, and the cells of each row of numbers, all of one length."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)})") from None
    sample = max(lines[:50], key=len, default="")
    delimiter = max(",;\t ", key=sample.count)
    header: list[str] = []
    rows: list[list[str]] = []
    for line, text in enumerate(lines, 1):
        cells = [cell.strip(" \"'") for cell in (text.split() if delimiter == " " else text.split(delimiter))]
        if len(cells) > _FEWEST_COLUMNS and sum(map(_is_number, cells)) > len(cells) / 2:
            rows.append(cells)
            if len(cells) != len(rows[0]):
                raise VideoError(f"{path}: line {line} has {len(cells)} columns, the rows before it {len(rows[0])}")
        elif not rows:
            header = cells if len(cells) > _FEWEST_COLUMNS else []
        elif any(cells):
            raise VideoError(f"{path}: line {line} is not a row of numbers: {text[:40]!r}")
    if not rows:
        raise VideoError(f"{path}: no rows of numbers; expected rows of a time and the pixels of a frame")
    while header and not header[-1]:
        header.pop()
    if not any(row[-1] for row in rows) and len(header) != len(rows[0]):  # a delimiter at each line's end
        rows = [row[:-1] for row in rows]
    if header and len(header) != len(rows[0]):
        raise VideoError(f"{path}: the header has {len(header)} columns, the rows {len(rows[0])}")
    return header, rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _pixels(path: Path, names: Sequence[str], width: int) -> tuple[int, tuple[int, int]]:
    """The first pixel column, and rows and columns of a frame."""
    if names:
        first = next((i for i, name in enumerate(names) if _PIXEL_HEADER.match(name)), None)
        if first is not None and (shape := _shape(width - first)):
            return first, shape
    for others in range(5):  # columns for time, the sensor's own temperature, a frame number
        if shape := _shape(width - others):
            return others, shape
    raise VideoError(
        f"{path}: {width} columns; no known sensor has as many pixels. Save the frames as an array [T, H, W] with "
        "numpy.save"
    )


def _shape(pixels: int) -> tuple[int, int] | None:
    side = isqrt(max(pixels, 0))
    return SENSORS.get(pixels) or ((side, side) if side >= 4 and side * side == pixels else None)


def _seconds(cells: Sequence[str], name: str) -> NDArray[np.float64] | None:
    """Times in seconds; None where they cannot be read as times."""
    try:
        values = np.array(cells, np.float64)
    except ValueError:
        try:
            return np.array([datetime.fromisoformat(cell.replace("/", "-")).timestamp() for cell in cells])
        except ValueError:
            return None
    if re.search(r"\bms\b|milli", name, re.IGNORECASE) or abs(values[0]) > 1e11:
        values = values / 1000
    return values

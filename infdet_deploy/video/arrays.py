"""Thermal arrays: temperatures of low-resolution sensors, from `.npy`, `.npz` and CSV files or from Python.

Temperatures become hundredths of a kelvin, as radiometric cameras store them, so that everything after the reader is
the same for both. Frames keep the times at which the sensor measured them.
"""

import csv
import re
import zipfile
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
_TIMES = ("time", "times", "time_s", "times_s", "timestamp", "timestamps", "timestamps_s", "t")
_TIME_HEADER = re.compile(r"time|date|stamp|^t$|sec", re.IGNORECASE)
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
        shape, dtype = self.frames.shape, self.frames.dtype
        if len(shape) != 3 or 0 in shape:
            raise VideoError(f"{self.name}: an array of shape {list(shape)}; expected frames [T, H, W]")
        if dtype.kind != "f" and dtype not in (np.uint8, np.uint16):
            raise VideoError(
                f"{self.name}: an array of {dtype}; expected temperatures as floats, counts as uint16 or grey levels "
                "as uint8"
            )
        if self.times_s is not None and np.shape(self.times_s) != shape[:1]:
            raise VideoError(
                f"{self.name}: {np.size(self.times_s)} times for {shape[0]} frames; expected one per frame"
            )

    def read(self) -> Iterator[RawFrame]:
        """The frames: uint8, or uint16 for counts and temperatures; see `to_counts`.

        Warm-up frames and dead pixels are replaced; the first frame's note says so.
        """
        frames, notes = self.frames, ""
        if frames.dtype.kind == "f":
            frames, notes = _cleaned(frames)
            frames = to_counts(frames, self.name)
        times = np.full(len(frames), nan) if self.times_s is None else np.asarray(self.times_s, np.float64)
        fps = None if self.times_s is not None else self.fps or ARRAY_FPS
        for index, (frame, time_s) in enumerate(zip(frames, times, strict=True)):
            yield RawFrame(frame, float(time_s), fps, "" if index else notes)


def _cleaned(frames: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], str]:
    frames, dead = replace_dead_pixels(frames)
    frames, held = hold_warm_up(frames)
    notes = []
    if held:
        notes.append(f"the first {held} frames are sensor warm-up; frame {held} replaces them")
    if dead:
        notes.append(f"{len(dead)} dead pixels replaced by their neighbours' median: {', '.join(map(str, dead[:5]))}")
    return frames, "; ".join(notes)


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
    yield from ThermalArray(_loaded(path), name=str(path)).read()


def read_npz(path: Path) -> Iterator[RawFrame]:
    """Read an archive with one array [T, H, W] and perhaps its times [T] in seconds, under any names.

    Raises VideoError where it is not clear which array is which.
    """
    with _loaded(path) as arrays:
        try:
            found = {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise VideoError(f"{path}: not a readable .npz archive ({reason(error)})") from None
    clips = {name: array for name, array in found.items() if array.ndim == 3}
    if len(clips) != 1:
        what = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items()) or "nothing"
        raise VideoError(f"{path}: contains {what}; expected one array [T, H, W], and perhaps its times [T]")
    (frames,) = clips.values()
    rows = {key: array for key, array in found.items() if array.shape == (len(frames),) and array.dtype.kind in "fiu"}
    named = [key for key in rows if key.lower().rpartition(".")[2] in _TIMES] or list(rows)
    times = rows[named[0]].astype(np.float64) if named else None
    yield from ThermalArray(frames, times, name=str(path)).read()


def _loaded(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise VideoError(f"{path}: not a readable NumPy file ({reason(error)}); expected an array [T, H, W]") from None


def read_csv(path: Path) -> Iterator[RawFrame]:
    """Read a sensor's log: a row a frame, its time and other columns first, then the pixels row by row.

    Lines before the first row of numbers are a header. A column is the time if its header names a time, or if it is the
    first before the pixels; numbers are seconds, milliseconds where the header says ms or they are above 1e11, other
    text a date and time. The pixels are the last columns, as many as a known sensor or the largest square has.

    Raises VideoError for a file without such rows, and for a row of another length, naming its line.
    """
    header, rows = _numeric_rows(path)
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise VideoError(f"{path}: line {line} has {len(row)} columns, line {rows[0][0]} has {width}")
    names = header if len(header) == width else []
    first, shape = _pixels(path, names, width)
    try:
        values = np.array([row[first:] for _, row in rows], np.float64)
    except ValueError as error:
        raise VideoError(f"{path}: {reason(error)}; expected temperatures from column {first + 1} on") from None
    column = next((i for i in range(first) if names and _TIME_HEADER.search(names[i])), 0)
    times = None
    if first:
        times = _seconds([row[column] for _, row in rows], names[column] if names else "")
    yield from ThermalArray(values.reshape(-1, *shape), times, name=str(path)).read()


def _numeric_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The last header line, and line number and cells of each row of numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)})") from None
    sample = max(text.splitlines()[:50], key=len, default="")
    delimiter = max(",;\t ", key=sample.count)
    header: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    for line, cells in enumerate(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True), 1):
        cells = [cell.strip() for cell in cells]
        while cells and not cells[-1]:  # a delimiter at the line's end
            cells.pop()
        if len(cells) > 16 and _is_number(cells[-1]) and _is_number(cells[len(cells) // 2]):
            rows.append((line, cells))
        elif not rows:
            header = cells
        elif cells:
            raise VideoError(f"{path}: line {line} is not a row of numbers: {delimiter.join(cells)[:40]!r}")
    if not rows:
        raise VideoError(f"{path}: no rows of numbers; expected rows of a time and the pixels of a frame")
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

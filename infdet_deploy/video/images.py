"""A folder of numbered images as a clip."""

import itertools
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from math import nan
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError, reason
from infdet_deploy.files import IMAGE_SUFFIXES
from infdet_deploy.video.arrays import ThermalArray
from infdet_deploy.video.containers import quiet
from infdet_deploy.video.grey import grey
from infdet_deploy.video.palettes import GreyOfRecording
from infdet_deploy.video.tiff import read_tiff_picture
from infdet_deploy.video.timing import RawFrame

ToGrey = Callable[[av.VideoFrame], NDArray[Any]]
_NUMBER_AT_END = re.compile(r"(.*?)(\d+(?:\.\d+)?)", re.DOTALL)
_PGM = re.compile(rb"P5(?:\s+#[^\n]*)*\s+(\d{1,6})(?:\s+#[^\n]*)*\s+(\d{1,6})(?:\s+#[^\n]*)*\s+(\d{1,6})\s")
_BIG_TIFF = 43  # in place of 42, where offsets have 64 bits

# First bytes; bytes near the end of a complete file (libav fills missing data with grey); decoder.
_SIGNATURES = (
    (b"\xff\xd8", b"\xff\xd9", "mjpeg"),
    (b"\x89PNG", b"IEND", "png"),
    (b"BM", b"", "bmp"),
    (b"II*\0", b"", "tiff"),
    (b"MM\0*", b"", "tiff"),
    (b"II+\0", b"", "tiff"),
    (b"MM\0+", b"", "tiff"),
    (b"P2", b"", "pgm"),
    (b"P5", b"", "pgm"),
)


def read_folder(path: Path) -> Iterator[RawFrame]:
    """Read the images of a folder in the order of their numbers (2.png before 10.png).

    Where names end with times in seconds, such as 1612345678.25.png, these are the frames' times (see `_times`).
    Sub-folders, hidden files and other types are ignored. Only the first page of a TIFF is read, see `tiff`.
    Raises VideoError: no images, or a named image that does not decode or differs from the first in size or depth.
    """
    files = picture_files(path)
    if not files:
        raise VideoError(
            f"{path}: no images in this folder; expected files of these types: "
            f"{' '.join(IMAGE_SUFFIXES)}; for videos, name the files: {path}/*"
        )
    times_s = _times(files)
    to_grey = GreyOfRecording()
    frames = _alike(files, to_grey)
    first = next(frames)
    if first.dtype.kind == "f":
        known = None if times_s is None else np.array(times_s)
        yield from ThermalArray(np.stack([first, *frames]), known, name=str(path)).read()
        return
    for index, frame in enumerate(itertools.chain([first], frames)):
        yield RawFrame(frame, nan if times_s is None else times_s[index], note=to_grey.note)


def _alike(files: Sequence[Path], to_grey: ToGrey) -> Iterator[NDArray[Any]]:
    """The pictures; VideoError for one whose size or depth differs from the first."""
    first = None
    for file in files:
        with quiet():
            frame = read_picture(file, to_grey)
        kind = f"{frame.shape[1]}x{frame.shape[0]} {8 * frame.dtype.itemsize}-bit"
        first = first or kind
        if kind != first:
            raise VideoError(
                f"{file}: {kind}, but {files[0].name} is {first}; expected images of one size and depth:"
                " remove or convert this image"
            )
        yield frame


def _times(files: Sequence[Path]) -> list[float] | None:
    """The numbers at the end of the names, in seconds; None unless all are different times of one series.

    At least one has a decimal point, and the text before them is the same: `clip.mp4#t=1.png`, `clip.mp4#t=1.066.png`.
    """
    found = [_NUMBER_AT_END.fullmatch(file.stem) for file in files]
    parts = [match.groups() for match in found if match]
    numbers = [number for _, number in parts]
    if len(parts) < len(files) or len({text for text, _ in parts}) != 1 or not any("." in one for one in numbers):
        return None
    times_s = [float(number) for number in numbers]
    return times_s if len(set(times_s)) == len(times_s) else None


def picture_files(path: Path) -> list[Path]:
    """The images directly in a folder, in the order of their numbers, or of the times in their names."""

    def natural(file: Path) -> tuple[list[str | int], str]:
        parts = enumerate(re.split(r"(\d+)", file.name))
        return [int(part) if index % 2 else part for index, part in parts], file.name

    shown = (file for file in path.iterdir() if not file.name.startswith("."))
    files = [file for file in shown if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    times_s = _times(files)
    if times_s is not None:  # 1.2 is later than 1.06
        return [file for _, file in sorted(zip(times_s, files, strict=True))]
    return sorted(files, key=natural)


def is_stack(file: Path) -> bool:
    """Whether a file is a TIFF of several pages, which is a recording; False if it cannot be read."""
    if file.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with file.open("rb") as stream:
            head = stream.read(16)
            order = {b"II": "<", b"MM": ">"}[head[:2]]
            big = struct.unpack(order + "H", head[2:4])[0] == _BIG_TIFF
            offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
            (first,) = struct.unpack_from(order + offset, head, 8 if big else 4)
            stream.seek(first)
            (entries,) = struct.unpack(order + count, stream.read(struct.calcsize(order + count)))
            stream.seek(entries * entry, os.SEEK_CUR)
            (following,) = struct.unpack(order + offset, stream.read(struct.calcsize(order + offset)))
            return bool(following)
    except (OSError, KeyError, struct.error, OverflowError):
        return False


def read_picture(file: Path, to_grey: ToGrey = grey) -> NDArray[Any]:
    """One picture as uint8 [H,W], uint16 [H,W] for 16-bit grey, or temperatures as float32 [H,W].

    Raises VideoError naming the file if it does not decode.
    """
    try:
        data = file.read_bytes()
        if _codec(data) == "tiff" and (pixels := read_tiff_picture(file)) is not None:
            return pixels
        if (counts := _wide_pgm(data)) is not None:
            return counts
        # Straight to the decoder: libav's file layer would read '%' in a name as a pattern for a sequence.
        codec = _codec(data)
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        if codec != "tiff":  # which would refuse every private tag
            decoder.options = {"err_detect": "explode"}
        decoded = decoder.decode(av.Packet(data)) or decoder.decode(None)
        if not decoded or decoded[0].is_corrupt:
            raise ValueError("nothing decodes")
        return to_grey(decoded[0]).copy()
    except (av.FFmpegError, ValueError, OSError) as error:
        raise VideoError(f"{file}: not a readable image ({reason(error)}); replace or remove it") from None


def _wide_pgm(data: bytes) -> NDArray[np.uint16] | None:
    """The counts of a binary PGM of more than 8 bits; None for other files. libav would scale them to 65535."""
    head = _PGM.match(data)
    if head is None or not 255 < int(head[3]) < 65536:
        return None
    width, height = int(head[1]), int(head[2])
    if len(data) < head.end() + 2 * width * height:
        raise ValueError("the file is cut short")
    return np.frombuffer(data, ">u2", width * height, head.end()).reshape(height, width).astype(np.uint16)


def _codec(data: bytes) -> str:
    """libav's decoder for a picture file, by its first bytes; ValueError if there is none or the end is missing."""
    if not data:
        raise ValueError("the file is empty")
    for begin, end, codec in _SIGNATURES:
        if data.startswith(begin):
            if data.rfind(end) < 0:
                raise ValueError("the file is cut short")
            return codec
    raise ValueError(f"unknown content; expected one of: {' '.join(IMAGE_SUFFIXES)}")

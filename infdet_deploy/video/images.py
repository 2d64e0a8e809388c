"""A folder of numbered images as a clip."""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError, reason
from infdet_deploy.files import IMAGE_SUFFIXES
from infdet_deploy.video.containers import quiet
from infdet_deploy.video.grey import grey
from infdet_deploy.video.timing import RawFrame

_BIG_TIFF = 43  # in place of 42, where offsets have 64 bits

# First bytes; bytes near the end of a complete file (libav fills missing data with grey); decoder.
_SIGNATURES = (
    (b"\xff\xd8", b"\xff\xd9", "mjpeg"),
    (b"\x89PNG", b"IEND", "png"),
    (b"BM", b"", "bmp"),
    (b"II*\0", b"", "tiff"),
    (b"MM\0*", b"", "tiff"),
    (b"P2", b"", "pgm"),
    (b"P5", b"", "pgm"),
)


def read_folder(path: Path) -> Iterator[RawFrame]:
    """Read the images of a folder in the order of their numbers (2.png before 10.png).

    Sub-folders, hidden files and other types are ignored. Only the first page of a TIFF is read.
    Raises VideoError: no images, or a named image that does not decode or differs from the first in size or depth.
    """
    files = picture_files(path)
    if not files:
        raise VideoError(
            f"{path}: no images in this folder; expected files of these types: "
            f"{' '.join(IMAGE_SUFFIXES)}; for videos, name the files: {path}/*"
        )
    first = None
    with quiet():
        for file in files:
            frame = read_picture(file)
            kind = f"{frame.shape[1]}x{frame.shape[0]} {8 * frame.dtype.itemsize}-bit"
            first = first or kind
            if kind != first:
                raise VideoError(
                    f"{file}: {kind}, but {files[0].name} is {first}; expected images of one size and depth:"
                    " remove or convert this image"
                )
            yield RawFrame(frame)


def picture_files(path: Path) -> list[Path]:
    """The images directly in a folder, in natural order."""

    def natural(file: Path) -> tuple[list[str | int], str]:
        parts = enumerate(re.split(r"(\d+)", file.name))
        return [int(part) if index % 2 else part for index, part in parts], file.name

    shown = (file for file in path.iterdir() if not file.name.startswith("."))
    return sorted((file for file in shown if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()), key=natural)


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


def read_picture(file: Path) -> NDArray[Any]:
    """One picture as uint8 [H,W], or uint16 [H,W] for 16-bit grey; VideoError naming the file if it does not decode."""
    try:
        data = file.read_bytes()
        # Straight to the decoder: libav's file layer would read '%' in a name as a pattern for a sequence.
        codec = _codec(data)
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        if codec != "tiff":  # which would refuse every private tag
            decoder.options = {"err_detect": "explode"}
        decoded = decoder.decode(av.Packet(data)) or decoder.decode(None)
        if not decoded or decoded[0].is_corrupt:
            raise ValueError("nothing decodes")
        return grey(decoded[0]).copy()
    except (av.FFmpegError, ValueError, OSError) as error:
        raise VideoError(f"{file}: not a readable image ({reason(error)}); replace or remove it") from None


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

"""Damaged recordings: each is read, in part or whole, or refused in one line.

    python -m tools.campaigns.media --count 5000

First every kind of damage in every format, then `--count` random changes of the formats' files in turn. `--files` adds
recordings of your own, which are copied.
"""

import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from infdet_deploy import console
from infdet_deploy.video import read_video
from tests.video.recordings import moving_scene, write_video
from tools.campaigns.common import Tally, change_bytes, finish, options

MEMORY = 6_000_000_000  # bytes; more is a failure
CONTAINERS = {
    "mp4": ("mpeg4", "yuv420p"), "mkv": ("ffv1", "gray"), "avi": ("mjpeg", "yuvj420p"), "ts": ("mpeg2video", "yuv420p"),
    "mov": ("mpeg4", "yuv420p"), "gif": ("gif", "gray"),
}  # fmt: skip
PIECES = (
    b"\0" * 64,
    b"\xff" * 64,
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x01",
    b"moov",
    b"RIFF",
    b"\x1a\x45\xdf\xa3",
    b"G" * 188,
)

Damage = Callable[[bytes, random.Random], bytes]


def _flipped(data: bytes, rng: random.Random, count: int) -> bytes:
    text = bytearray(data)
    for _ in range(count):
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
    return bytes(text)


def _blocks(data: bytes) -> list[bytes]:
    size = max(1, len(data) // 16)
    return [data[at : at + size] for at in range(0, len(data), size)]


KINDS: dict[str, Damage] = {
    "empty": lambda data, rng: b"",
    "one byte": lambda data, rng: data[:1],
    "a tenth": lambda data, rng: data[: len(data) // 10],
    "half": lambda data, rng: data[: len(data) // 2],
    "last byte missing": lambda data, rng: data[:-1],
    "last hundredth missing": lambda data, rng: data[: len(data) * 99 // 100],
    "first half missing": lambda data, rng: data[len(data) // 2 :],
    "first bytes zero": lambda data, rng: bytes(16) + data[16:],
    "first kilobyte zero": lambda data, rng: bytes(1024) + data[1024:],
    "first kilobyte random": lambda data, rng: rng.randbytes(1024) + data[1024:],
    "middle zero": lambda data, rng: data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) * 2 // 3 :],
    "middle random": lambda data, rng: (
        data[: len(data) // 3] + rng.randbytes(len(data) // 3) + data[len(data) * 2 // 3 :]
    ),
    "middle missing": lambda data, rng: data[: len(data) // 3] + data[len(data) * 2 // 3 :],
    "end zero": lambda data, rng: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "all zero": lambda data, rng: bytes(len(data)),
    "all random": lambda data, rng: rng.randbytes(len(data)),
    "one bit": lambda data, rng: _flipped(data, rng, 1),
    "a hundred bits": lambda data, rng: _flipped(data, rng, 100),
    "a bit of every hundredth byte": lambda data, rng: _flipped(data, rng, len(data) // 100),
    "garbage in front": lambda data, rng: rng.randbytes(1000) + data,
    "garbage behind": lambda data, rng: data + rng.randbytes(100_000),
    "twice": lambda data, rng: data * 2,
    "blocks in other order": lambda data, rng: b"".join(rng.sample(blocks := _blocks(data), len(blocks))),
    "backwards": lambda data, rng: data[::-1],
}


def make_recordings(folder: Path) -> list[Path]:
    """One small recording of each format."""
    frames = moving_scene(30, 64, 80)
    found = [write_video(folder / f"a.{end}", frames, codec, pixels) for end, (codec, pixels) in CONTAINERS.items()]
    counts = frames.astype(np.uint16) * 20 + 3000
    np.save(folder / "a.npy", counts)
    found.append(folder / "a.npy")
    try:
        import tifffile
    except ImportError:
        return found
    tifffile.imwrite(folder / "a.tif", counts, photometric="minisblack")
    return [*found, folder / "a.tif"]


def campaign(folder: Path, files: Sequence[Path], count: int, kinds: Sequence[str], seed: int = 0) -> Tally:
    """Read every kind of damage of every file, then `count` random changes. The failures' files stay in the folder."""
    rng, tally = random.Random(seed), Tally()
    silent, console.say = console.say, lambda *_, **__: None  # thousands of notes

    def attempt(name: str, file: Path, data: bytes) -> None:
        target = folder / f"damaged{file.suffix}"
        target.write_bytes(data)
        failures = len(tally.failures)
        tally.attempt(name, lambda: read_video(target))
        if len(tally.failures) > failures:
            shutil.copy(target, folder / f"failed-{len(tally.failures)}{file.suffix}")

    for file in files:
        for kind in kinds:
            attempt(f"{file.name}, {kind}", file, KINDS[kind](file.read_bytes(), rng))
    for number in range(count):
        file = files[number % len(files)]
        attempt(f"{file.name}, change {number}", file, change_bytes(rng, file.read_bytes(), PIECES))
    console.say = silent
    return tally


def main() -> int:
    parser = options(__doc__, 5000)
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="recordings of your own")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    folder = Path(tempfile.mkdtemp(prefix="media-"))
    files = [*make_recordings(folder), *given.files]
    return finish(campaign(folder, files, given.count, list(KINDS), given.seed), f"media, kept in {folder}")


if __name__ == "__main__":
    sys.exit(main())

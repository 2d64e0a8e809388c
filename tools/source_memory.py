"""Memory over many frames: `python -m tools.source_memory --frames 100000 [--leak reader|decoder]`.

Tiny synthetic pictures go through a source: decoder, channel and queue. From a tenth of them on, neither this process
nor the decoder may grow by more than a tenth; with a planted leak one of them does.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from infdet_deploy.live.sources.source import Source, SourceOptions, open_source
from tests.live.sources.broken_decoder import open_broken, write_frames
from tools.camera_faults import resident_kb

ALLOWED = 0.10


@dataclass(frozen=True)
class Growth:
    """Memory of both processes in kB, after a tenth of the frames and after nearly all."""

    frames: int
    reader_kb: tuple[int, int]
    decoder_kb: tuple[int, int]

    @property
    def shares(self) -> tuple[float, float]:
        """By which share each process grew."""
        return self.reader_kb[1] / self.reader_kb[0] - 1, self.decoder_kb[1] / self.decoder_kb[0] - 1

    @property
    def flat(self) -> bool:
        """Whether neither grew by more than is allowed."""
        return max(self.shares) <= ALLOWED


def measure(frames: int, leak: str | None = None) -> Growth:
    """Read `frames` frames from a source. leak: `reader` keeps a kilobyte a frame here, `decoder` in the child."""
    with tempfile.TemporaryDirectory() as folder:
        # The decoder runs ahead of its reader: it must not have ended when its memory is read.
        path = write_frames(Path(folder) / "frames.y4m", frames + 2000)
        with _open(path, leak) as source:
            return _watch(source, frames, leak == "reader")


def _open(path: Path, leak: str | None) -> Source:
    if leak == "decoder":
        return open_broken("leaking", str(path), is_file=True)
    return open_source(str(path), 8, SourceOptions(pace="fast"))


def _watch(source: Source, frames: int, leak: bool) -> Growth:
    kept: list[bytearray] = []
    seen: list[tuple[int, int]] = []
    for number in range(1, frames + 1):
        assert source.read(10) is not None
        if leak:
            kept.append(bytearray(b"x" * 1000))
        if number in (frames // 10, frames):
            pid = source.pid
            assert pid is not None
            seen.append((resident_kb(os.getpid()), resident_kb(pid)))
    (reader, decoder), (reader_end, decoder_end) = seen
    return Growth(frames, (reader, reader_end), (decoder, decoder_end))


def main() -> int:
    """Exit status 1 when memory grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--leak", choices=("reader", "decoder"))
    options = parser.parse_args()
    begun = time.monotonic()
    growth = measure(options.frames, options.leak)
    print(f"{growth.frames} frames in {time.monotonic() - begun:.0f} s")
    for name, memory, share in zip(
        ("reader", "decoder"), (growth.reader_kb, growth.decoder_kb), growth.shares, strict=True
    ):
        print(f"{name}: {memory[0] / 1024:.1f} MB, then {memory[1] / 1024:.1f} MB ({share:+.1%})")
    return 0 if growth.flat else 1


if __name__ == "__main__":
    raise SystemExit(main())

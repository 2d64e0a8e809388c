"""Memory and speed of long recordings: `python -m tools.long_recordings BUNDLE [--precision int8] [--minutes 10 60]`.

Runs `detect` on a synthetic recording of each length, 160×120 at 25 frames a second, each in its own process. The
longer one may need at most 5 % more memory than the shorter one, and 1.5 GB. It runs for minutes with preset `tiny`,
and for half an hour with `infdet`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from infdet_deploy.video.sample import sample_frames

FPS, WIDTH, HEIGHT = 25, 160, 120
LOOP_FRAMES = 60 * FPS  # encoded once, then repeated
MOST_BYTES, MOST_GROWTH = 1.5e9, 1.05


@dataclass(frozen=True)
class Run:
    """One `detect`: peak memory of its process, seconds from start to end, and its report."""

    peak_bytes: int
    seconds: float
    report: dict[str, Any]


def write_recording(path: Path, frames: int) -> Path:
    """A minute of moving warm blobs, repeated without being encoded again."""
    loop = path.with_name(f"loop{path.suffix}")
    edge = (WIDTH - HEIGHT) // 2
    with av.open(str(loop), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for number, scene in enumerate(range(0, LOOP_FRAMES, 250)):
            pictures = sample_frames(min(250, LOOP_FRAMES - scene), WIDTH, seed=number)[:, edge : edge + HEIGHT]
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path), "w") as container, av.open(str(loop)) as source:
        (given,) = source.streams.video
        stream = container.add_stream_from_template(given)
        for start in range(0, frames, LOOP_FRAMES):
            source.seek(0)
            for number, packet in enumerate(packet for packet in source.demux(given) if packet.size):
                if start + number < frames:
                    packet.pts = packet.dts = start + number
                    packet.duration, packet.time_base, packet.stream = 1, Fraction(1, FPS), stream
                    container.mux(packet)
    loop.unlink()
    return path


def detect(bundle: Path, recording: Path, precision: str) -> Run:
    """`infdet-deploy detect` in a process of its own."""
    words = ("detect", str(bundle), str(recording), "--precision", precision, "--json")
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen((sys.executable, "-m", "infdet_deploy.cli", *words), stdout=output)
        _, status, used = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"detect failed: {status}")
        seconds = time.monotonic() - begun
        output.seek(0)
        (report,) = json.load(output)["videos"]
    return Run(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024), seconds, report)


def main() -> int:
    """Exit status 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--minutes", type=int, nargs=2, default=(10, 60))
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            frames = minutes * 60 * FPS
            recording = write_recording(Path(folder) / f"{minutes}.mp4", frames)
            run = detect(options.bundle, recording, options.precision)
            runs.append(run)
            assert run.report["frames"] == frames, run.report["frames"]
            print(
                f"{minutes} min, {frames} frames: peak {run.peak_bytes / 1e6:.0f} MB, {run.seconds:.0f} s, "
                f"{frames / run.seconds:.0f} frames/s, {minutes * 60 / run.seconds:.1f} × real time",
                flush=True,
            )
    growth = runs[1].peak_bytes / runs[0].peak_bytes
    print(f"memory of the longer one: {growth:.3f} × that of the shorter one")
    return int(growth > MOST_GROWTH or max(run.peak_bytes for run in runs) > MOST_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())

"""Time before the network: decoding a recording and resizing its pictures."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infdet_deploy.video.containers import read_container
from infdet_deploy.video.resize import Mode, resize
from infdet_deploy.video.sample import sample_frames
from infdet_deploy.video.writing import write_video

WIDTH, HEIGHT = 160, 120  # of small thermal cameras
RUNS = 5


@dataclass(frozen=True)
class Preparation:
    """Medians of `runs` runs, for all frames of a width×height recording."""

    decode_ms: float
    preprocess_ms: float
    codec: str
    width: int
    height: int
    runs: int


def measure_preparation(frames: int, size: int, mode: Mode) -> Preparation:
    """Encode a seeded recording once into a temporary file; time decoding and resizing it, `RUNS` times."""
    edge = (WIDTH - HEIGHT) // 2
    pictures = np.ascontiguousarray(sample_frames(frames, WIDTH)[:, edge : edge + HEIGHT])
    decoding, resizing = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mkv"
        codec = write_video(path, pictures)
        for _ in range(RUNS):
            start = time.perf_counter()
            decoded = [raw.pixels.copy() for raw in read_container(path)]
            read = time.perf_counter()
            resize(np.stack(decoded), size, mode)
            resizing.append(time.perf_counter() - read)
            decoding.append(read - start)
    decode_ms, preprocess_ms = (float(np.median(seconds) * 1000) for seconds in (decoding, resizing))
    return Preparation(decode_ms, preprocess_ms, codec, WIDTH, HEIGHT, RUNS)

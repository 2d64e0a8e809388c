"""Time before the network: decoding a recording and resizing its pictures."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from infdet_deploy.video.containers import quiet, read_container
from infdet_deploy.video.resize import Mode, resize
from infdet_deploy.video.sample import sample_frames

WIDTH, HEIGHT = 160, 120  # of small thermal cameras
RUNS = 5
# What PyAV's own builds can write, the commonest first.
CODECS = (("libx264", "yuv420p"), ("mpeg4", "yuv420p"), ("ffv1", "gray"))


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
        codec = _encode(path, pictures)
        for _ in range(RUNS):
            decoded: list[npt.NDArray[np.uint8]] = []
            start = time.perf_counter()
            read_container(path, lambda picture: decoded.append(picture.copy()))  # noqa: B023
            read = time.perf_counter()
            resize(np.stack(decoded), size, mode)
            resizing.append(time.perf_counter() - read)
            decoding.append(read - start)
    decode_ms, preprocess_ms = (float(np.median(seconds) * 1000) for seconds in (decoding, resizing))
    return Preparation(decode_ms, preprocess_ms, codec, WIDTH, HEIGHT, RUNS)


def _encode(path: Path, pictures: npt.NDArray[np.uint8]) -> str:
    """Write uint8 [T, H, W] with the first codec that this build of libav has; its name."""
    codec, pixels = next((c, p) for c, p in CODECS if c in av.codecs_available)
    with quiet(), av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    return codec

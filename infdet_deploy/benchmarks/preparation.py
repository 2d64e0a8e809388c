"""What comes before the network: decoding a recording, and bringing its pictures to the network's size."""

import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

from infdet_deploy.video.containers import quiet, read_container
from infdet_deploy.video.resize import Mode, resize
from infdet_deploy.video.sample import sample_frames

WIDTH, HEIGHT = 160, 120  # of small thermal cameras
RUNS = 5
# What PyAV's own builds can write, the commonest first.
CODECS = (("libx264", "yuv420p"), ("mpeg4", "yuv420p"), ("ffv1", "gray"))


def measure_preparation(frames: int, size: int, mode: Mode) -> dict[str, Any]:
    """Encode a seeded recording once into a temporary file; time decoding and resizing it, `RUNS` times.

    Returns `decode_ms` and `preprocess_ms` (medians for all frames), `codec`, `width`, `height` and `runs`.
    """
    edge = (WIDTH - HEIGHT) // 2
    pictures = np.ascontiguousarray(sample_frames(frames, WIDTH)[:, edge : edge + HEIGHT])
    decoding, resizing = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mkv"
        codec = _encode(path, pictures)
        for _ in range(RUNS):
            decoded: list[np.ndarray] = []
            start = time.perf_counter()
            read_container(path, lambda picture: decoded.append(picture.copy()))  # noqa: B023
            read = time.perf_counter()
            resize(np.stack(decoded), size, mode)
            resizing.append(time.perf_counter() - read)
            decoding.append(read - start)
    return {
        "decode_ms": float(np.median(decoding) * 1000),
        "preprocess_ms": float(np.median(resizing) * 1000),
        "codec": codec,
        "width": WIDTH,
        "height": HEIGHT,
        "runs": RUNS,
    }


def _encode(path: Path, pictures: np.ndarray) -> str:
    """Write uint8 [T, H, W] with the first codec that this build of libav has; its name."""
    codec, pixels = next((c, p) for c, p in CODECS if c in av.codecs_available)
    with quiet(), av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    return codec

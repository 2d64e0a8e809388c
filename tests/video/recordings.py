"""Small recordings made on the spot."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def moving_scene(frame_count: int = 60, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """uint8 [T,H,W]: a slanted ramp that moves, under noise, so that no two frames are alike and files are not tiny."""
    noise = np.random.default_rng(7)
    ramp = (np.add.outer(np.arange(height), np.arange(width)) // 2).astype(np.uint8)
    return np.stack(
        [np.roll(ramp, 3 * t, axis=1) + noise.integers(0, 60, ramp.shape, dtype=np.uint8) for t in range(frame_count)]
    )


def write_video(
    path: Path,
    frames: NDArray[Any],
    codec: str,
    pixels: str,
    source: str = "gray",
    rate: int = 25,
    pts: list[int] | None = None,
    **container_options: str,
) -> Path:
    """Encode `frames` (layout `source`) as `pixels`; `pts` are in units of 1/1000 s and replace the constant rate."""
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixels
        if codec == "libx264":
            stream.options = {"crf": "1"}
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format=source)
            if pts is not None:
                frame.pts, frame.time_base = pts[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path: Path, share: float) -> Path:
    """The first `share` of a file, beside it."""
    data = path.read_bytes()
    result = path.with_name(f"cut_{path.name}")
    result.write_bytes(data[: int(len(data) * share)])
    return result

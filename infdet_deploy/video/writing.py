"""Grey frames → a video file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.video.containers import quiet

# What PyAV's own builds can write, the most common first.
CODECS = (("libx264", "yuv420p"), ("mpeg4", "yuv420p"), ("ffv1", "gray"))
_MILLISECOND = Fraction(1, 1000)


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    fps: float = 25.0,
    times_s: Sequence[float] | None = None,
    **options: str,
) -> str:
    """Write frames, uint8 [H,W] each, with the first of `CODECS` that this build of libav has; returns its name.

    times_s: when each frame is shown, in seconds from any start, instead of `fps`. options: of the codec.
    """
    codec, pixels = next((c, p) for c, p in CODECS if c in av.codecs_available)
    container_options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with quiet(), av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt, stream.options, stream.codec_context.thread_count = pixels, options, 1
        if times_s is not None:
            stream.codec_context.time_base = _MILLISECOND
        last = -1
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pixels)
            if times_s is not None:
                last = frame.pts = max(last + 1, round((times_s[index] - times_s[0]) * 1000))
                frame.time_base = _MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return codec

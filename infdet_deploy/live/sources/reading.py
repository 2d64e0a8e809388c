"""Reading a source to its end: libav's packets, or the readers of recordings that libav does not know."""

from itertools import count
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from infdet_deploy.errors import VideoError
from infdet_deploy.live.sources.channel import Request
from infdet_deploy.live.sources.clock import Arrival, Playing, Steady
from infdet_deploy.video.containers import declared_rate
from infdet_deploy.video.grey import grey
from infdet_deploy.video.images import read_folder
from infdet_deploy.video.thermal import read_cptv, read_tiff
from infdet_deploy.video.timing import DEFAULT_FPS, resolve

# Formats whose frames tell no time: libav counts them, 25 a second.
_TIMELESS = {"mpjpeg", "mjpeg"}

_READERS = {".cptv": read_cptv, ".tif": read_tiff, ".tiff": read_tiff}


class Outlet(Protocol):
    """Where frames go; see `child.Outlet`."""

    def opened(self, fps: float | None) -> None: ...
    def frame(self, raw: NDArray[Any], shown: Any) -> None: ...
    def damaged(self) -> None: ...
    def alive(self) -> None: ...


def play(request: Request, outlet: Outlet) -> None:
    """Read a source until it ends. Raises VideoError, av.FFmpegError or OSError when it cannot be read on."""
    path = Path(request.target)
    if request.kind == "file" and (path.is_dir() or path.suffix.lower() in _READERS):
        _play_recording(path, request, outlet)
    else:
        _play_container(request, outlet)


def _play_recording(path: Path, request: Request, outlet: Outlet) -> None:
    """A thermal recording or a folder. Such files tell their times last: they are read once before they are played."""
    reader = read_folder if path.is_dir() else _READERS[path.suffix.lower()]
    seen: list[None] = []
    timing = reader(path, lambda frame: seen.append(None))
    if not seen:
        raise VideoError(f"{path}: no frames in this recording; give another one")
    fps, times_s = resolve(timing, len(seen), request.fps)
    outlet.opened(fps)
    clock = Playing(outlet.alive, request.paced, catch_up=False)
    position_s = iter(times_s.tolist())
    reader(path, lambda frame: outlet.frame(frame, lambda: clock.shown(next(position_s))))


def _play_container(request: Request, outlet: Outlet) -> None:
    is_file = request.kind == "file"
    options = {"protocol_whitelist": "file"} if is_file else request.options
    if is_file:
        declared_rate(Path(request.target))  # says better than libav what is wrong with a file
    with av.open(request.target, format="v4l2" if request.kind == "camera" else None, options=options) as container:
        stream = _video_stream(container)
        nominal = request.fps or _stated_fps(stream)
        outlet.opened(nominal)
        clock = _clock(request, container, outlet)
        by_number = is_file and request.fps is not None
        number = count()
        for packet in container.demux(stream):
            if packet.is_corrupt:
                outlet.damaged()
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                outlet.damaged()
                continue
            for frame in frames:
                if frame.is_corrupt:
                    outlet.damaged()
                    continue
                index = next(number)
                position_s = frame.time
                if by_number or (is_file and position_s is None):
                    position_s = index / (nominal or DEFAULT_FPS)
                outlet.frame(grey(frame), lambda: clock.shown(position_s))  # noqa: B023 - called at once


def _clock(request: Request, container: InputContainer, outlet: Outlet) -> Arrival | Steady | Playing:
    formats = set(container.format.name.split(","))
    if request.kind == "file":
        return Playing(outlet.alive, request.paced, catch_up=False)
    if formats & _TIMELESS:
        return Arrival()
    if request.kind == "camera" or formats & {"rtsp", "sdp"}:
        return Steady()
    return Playing(outlet.alive, wait=True, catch_up=True)


def _video_stream(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    found = ", ".join(stream.type for stream in container.streams) or "none"
    raise VideoError(f"no video stream (streams: {found}); expected moving pictures")


def _stated_fps(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None

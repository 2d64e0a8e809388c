"""Decode a source to its end: with libav, or with the readers of recordings that libav does not know."""

from array import array
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from infdet_deploy.errors import VideoError
from infdet_deploy.live.sources.messages import Request
from infdet_deploy.live.sources.timestamps import PlaybackTime, SmoothedTime
from infdet_deploy.video.block_reader import OTHER_READERS, read_recording
from infdet_deploy.video.containers import declared_rate, stated_fps, video_stream
from infdet_deploy.video.grey import grey
from infdet_deploy.video.timing import DEFAULT_FPS, resolve

if TYPE_CHECKING:
    from infdet_deploy.live.sources.decoder_process import FrameSender

# Formats without timestamps: libav counts their frames, 25 a second.
_WITHOUT_TIME = {"mpjpeg", "mjpeg"}


def decode(request: Request, sender: "FrameSender") -> None:
    """Send every frame of a source. Raises VideoError, av.FFmpegError or OSError when the source fails."""
    path = Path(request.target)
    if request.kind == "file" and (path.is_dir() or path.suffix.lower() in OTHER_READERS):
        _decode_recording(path, request, sender)
    else:
        _decode_container(request, sender)


def _decode_recording(path: Path, request: Request, sender: "FrameSender") -> None:
    """A thermal recording or a folder, read twice: its rate depends on all frames' times."""
    seen, declared = array("d"), None
    for raw in read_recording(path):
        seen.append(raw.time_s)
        declared = raw.fps
    if not seen:
        raise VideoError(f"{path}: no frames in this recording; give another one")
    fps, times_s = resolve(declared, np.array(seen), request.fps)
    sender.opened(fps)
    clock = PlaybackTime(sender.alive, request.paced, catch_up=False)
    for raw, position_s in zip(read_recording(path), times_s.tolist(), strict=True):
        sender.frame(raw.pixels, lambda: clock.shown(position_s))  # noqa: B023 - called at once


def _decode_container(request: Request, sender: "FrameSender") -> None:
    is_file = request.kind == "file"
    options = {"protocol_whitelist": "file"} if is_file else request.options
    if is_file:
        declared_rate(Path(request.target))  # explains better than libav what is wrong with a file
    with av.open(request.target, format="v4l2" if request.kind == "camera" else None, options=options) as container:
        stream = video_stream(container)
        nominal = request.fps or stated_fps(stream)
        sender.opened(nominal)
        formats = set(container.format.name.split(","))
        clock: SmoothedTime | PlaybackTime
        if is_file:
            clock = PlaybackTime(sender.alive, request.paced, catch_up=False)
        elif request.kind == "camera" or formats & ({"rtsp", "sdp"} | _WITHOUT_TIME):
            clock = SmoothedTime()
        else:
            clock = PlaybackTime(sender.alive, wait=True, catch_up=True)
        by_number, timed = is_file and request.fps is not None, is_file or not formats & _WITHOUT_TIME
        number = count()
        for packet in container.demux(stream):
            try:
                frames = None if packet.is_corrupt else packet.decode()
            except av.FFmpegError:
                frames = None
            if frames is None:
                sender.damaged()
                continue
            for frame in frames:
                if frame.is_corrupt:
                    sender.damaged()
                    continue
                position_s, number_s = frame.time if timed else None, next(number) / (nominal or DEFAULT_FPS)
                if by_number or (is_file and position_s is None):
                    position_s = number_s
                sender.frame(grey(frame), lambda: clock.shown(position_s))  # noqa: B023 - called at once

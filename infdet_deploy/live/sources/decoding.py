"""Decode a source to its end: with libav, or with the readers of recordings that libav does not know."""

from pathlib import Path
from typing import TYPE_CHECKING

import av

from infdet_deploy.live.sources.messages import Request
from infdet_deploy.live.sources.timestamps import PlaybackTime, SmoothedTime
from infdet_deploy.video.containers import stated_fps, video_stream
from infdet_deploy.video.palettes import GreyOfRecording
from infdet_deploy.video.recording import read_recording, timeline_of
from infdet_deploy.video.timing import Doubts

if TYPE_CHECKING:
    from infdet_deploy.live.sources.decoder_process import FrameSender

# Formats without timestamps: libav counts their frames, 25 a second.
_WITHOUT_TIME = {"mpjpeg", "mjpeg"}


def decode(request: Request, sender: "FrameSender") -> None:
    """Send every frame of a source. Raises VideoError, av.FFmpegError or OSError when the source fails."""
    if request.kind == "file":
        _decode_recording(Path(request.target), request, sender)
    else:
        _decode_stream(request, sender)


def _decode_recording(path: Path, request: Request, sender: "FrameSender") -> None:
    """A file or folder: its frames and their times are those of `detect`."""
    timeline, times, _ = timeline_of(path, request.fps)
    sender.opened(timeline.fps, timeline)
    clock, doubts, told = PlaybackTime(sender.alive, request.paced, catch_up=False), Doubts(), 0
    for raw in read_recording(path, doubts):
        for _ in range(told, doubts.damaged):
            sender.damaged()
        told = doubts.damaged
        position_s, _ = times.at(raw.time_s)
        sender.frame(raw.pixels, lambda: clock.shown(position_s))  # noqa: B023 - called at once
    for _ in range(told, doubts.damaged):
        sender.damaged()


def _decode_stream(request: Request, sender: "FrameSender") -> None:
    layout = "v4l2" if request.kind == "camera" else None
    with av.open(request.target, format=layout, options=request.options) as container:
        stream = video_stream(container)
        sender.opened(request.fps or stated_fps(stream))
        formats = set(container.format.name.split(","))
        clock: SmoothedTime | PlaybackTime
        if request.kind == "camera" or formats & ({"rtsp", "sdp"} | _WITHOUT_TIME):
            clock = SmoothedTime()
        else:
            clock = PlaybackTime(sender.alive, wait=True, catch_up=True)
        timed, grey = not formats & _WITHOUT_TIME, GreyOfRecording()
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
                position_s = frame.time if timed else None
                sender.frame(grey(frame), lambda: clock.shown(position_s))  # noqa: B023 - called at once

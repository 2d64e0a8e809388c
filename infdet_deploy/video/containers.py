"""Video files through libav: the frames of the first video stream. Files that are cut short are refused."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from math import nan
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from infdet_deploy.errors import VideoError, reason
from infdet_deploy.video.grey import grey
from infdet_deploy.video.timing import DEFAULT_FPS, RawFrame

_NOT_VIDEO = {"tty"}  # text files: libav would draw their characters as pictures

# Part of the announced duration that may be missing: muxers round, and often guess the duration of the last frame.
_SLACK_FRAMES, _SLACK_SHARE = 1.5, 0.01


class _DamageError(Exception):
    """libav marked a packet or a frame as damaged."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libav from writing to stderr; errors are raised as VideoError."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.PANIC)
    try:
        yield
    finally:
        av.logging.set_level(level)


def read_container(path: Path) -> Iterator[RawFrame]:
    """Decode the first video stream of a file, in display order. Rotation tags are not applied.

    path: any file that libav reads: mp4, mkv, avi, webm, ts, …
    Raises VideoError: not a video, no video stream, nothing decodes, or fewer frames decode than the file announces.
    """
    with quiet(), _open(path) as container:
        yield from _decode(path, container, video_stream(container, path))


def announced_frames(path: Path) -> int | None:
    """Approximate number of frames that a video file announces; None if it does not. Raises VideoError."""
    with quiet(), _open(path) as container:
        return _expected_frames(container, video_stream(container, path))


def declared_rate(path: Path) -> float | None:
    """Frames per second that a video file declares; None if it does not. Raises VideoError."""
    with quiet(), _open(path) as container:
        return stated_fps(video_stream(container, path))


def _open(path: Path) -> InputContainer:
    try:
        # Playlists may name other addresses; only local files are opened.
        container = av.open(str(path.absolute()), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError, OSError) as error:
        raise VideoError(
            f"{path}: not a readable video ({reason(error)}); expected a whole video file such as mp4, mkv or avi:"
            " check that it was copied completely"
        ) from None
    if set(container.format.name.split(",")) & _NOT_VIDEO:
        container.close()
        raise VideoError(f"{path}: a text file, not a readable video; expected a file such as mp4, mkv or avi")
    return container


def video_stream(container: InputContainer, path: Path | None = None) -> VideoStream:
    """The first video stream; VideoError, naming `path` where given, if there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    found = ", ".join(stream.type for stream in container.streams) or "none"
    where = f"{path}: " if path is not None else ""
    raise VideoError(f"{where}no video stream that can be decoded (streams: {found}); expected a video file")


def stated_fps(stream: VideoStream) -> float | None:
    """The frame rate that a stream states, in frames per second."""
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _decode(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[RawFrame]:
    """Decode to the end, then compare with the announced length."""
    count, accepted, fps = 0, False, stated_fps(stream)
    end_s: float | None = None
    failure: str | None = None
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise _DamageError("a damaged packet")
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if accepted:
                    raise
                # A recording of a running stream may begin in the middle of a group of pictures.
                failure = reason(error)
                continue
            if packet.size:
                accepted, failure = True, None
                ends = (end_s, _packet_end_s(packet, fps or DEFAULT_FPS))
                end_s = max((end for end in ends if end is not None), default=None)
            for frame in frames:
                if frame.is_corrupt:
                    raise _DamageError("a damaged frame")
                count += 1
                yield RawFrame(grey(frame), nan if frame.time is None else frame.time, fps)
    except (av.FFmpegError, _DamageError) as error:
        failure = reason(error)
    missing = failure or _cut_short(container, stream, count, end_s)
    if count == 0:
        raise VideoError(
            f"{path}: no frame decodes ({missing or 'the video stream is empty'}); expected a playable video:"
            f" try to re-encode it: ffmpeg -i {path.name} repaired.mp4"
        )
    if missing:
        expected = _expected_frames(container, stream)
        of = f" of {expected}" if expected and expected > count else ""
        raise VideoError(
            f"{path}: the video is cut short or damaged: {count}{of} frames decode ({missing}); copy it again,"
            f" or re-encode the readable part: ffmpeg -i {path.name} repaired.mp4"
        )


def _cut_short(container: InputContainer, stream: VideoStream, count: int, end_s: float | None) -> str | None:
    """Why the file ends before its announced end; None if it does not.

    Compares times where they are known: edit lists and skipped frames make the count of an intact file smaller than
    announced, but not its duration.
    """
    rate = stated_fps(stream) or DEFAULT_FPS
    announced_s = _announced_end_s(container, stream)
    if announced_s is not None and end_s is not None:
        slack_s = max(_SLACK_FRAMES / rate, _SLACK_SHARE * announced_s)
        if end_s < announced_s - slack_s:
            return f"the data ends at {end_s:.2f} s of {announced_s:.2f} s"
    elif stream.frames and count < stream.frames * (1 - _SLACK_SHARE) - _SLACK_FRAMES:
        return "the data ends early"
    return None


def _announced_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """When the last frame should end, in seconds on the stream's clock; None if the file does not announce it."""
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    tag = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), None)
    if tag is not None:
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    # A longer sound track would stretch the container's duration.
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _expected_frames(container: InputContainer, stream: VideoStream) -> int | None:
    if stream.frames:
        return stream.frames
    announced_s, rate = _announced_end_s(container, stream), stated_fps(stream)
    return round(announced_s * rate) if announced_s is not None and rate is not None else None


def _packet_end_s(packet: "av.Packet[VideoStream]", fps: float) -> float | None:
    begin = packet.pts if packet.pts is not None else packet.dts
    if begin is None or packet.time_base is None:
        return None
    length_s = float(packet.duration * packet.time_base) if packet.duration else 1 / fps
    return float(begin * packet.time_base) + length_s

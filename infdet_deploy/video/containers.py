"""Video files through libav: the frames of the first video stream and their time stamps."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from math import inf, nan
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from infdet_deploy.errors import VideoError, reason
from infdet_deploy.video.palettes import GreyOfRecording
from infdet_deploy.video.playlists import open_options
from infdet_deploy.video.timeline import DEFAULT_FPS, Seconds
from infdet_deploy.video.timing import Doubts, RawFrame, counted

_NOT_VIDEO = {"tty"}  # text files: libav would draw their characters as pictures

# Part of the announced duration that may be missing: muxers round, and often guess the duration of the last frame.
_SLACK_FRAMES, _SLACK_SHARE = 1.5, 0.01
_RESTART_S = 0.1  # packets are stored in the order of their decoding times; one that is earlier begins a new clock
_NO_TIMESTAMPS = 0x80  # libav's AVFMT_NOTIMESTAMPS: raw streams, whose frames it counts at 25 a second


class _Clock(NamedTuple):
    """A stream's clock: seconds = stamp · numerator / denominator − base_s."""

    numerator: int
    denominator: int
    base_s: float = 0.0

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream) -> "_Clock":
        """The clock that is 0 where the file's time line starts: sound may begin before the video."""
        unit = stream.time_base or Fraction(1, av.time_base)
        clock = cls(unit.numerator, unit.denominator)
        own_s = 0.0 if stream.start_time is None else clock.shown_s(stream.start_time)
        start_s = own_s if container.start_time is None else container.start_time / av.time_base
        if own_s < start_s + 2 / av.time_base:  # libav rounds the file's start to 1 µs
            start_s = own_s
        return clock._replace(base_s=start_s)

    def shown_s(self, stamp: int | None) -> float:
        """Seconds on the file's time line; NaN without a stamp."""
        return nan if stamp is None else stamp * self.numerator / self.denominator - self.base_s


class Stamps(NamedTuple):
    """The time stamps of a video stream.

    stated_s: float64 [T], as `RawFrame.time_s`, of every packet in the order in which the frames are shown. fps: the
    declared rate; None if there is none. note: as in `RawFrame`.
    """

    stated_s: Seconds
    fps: float | None
    note: str = ""


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


def read_container(path: Path, doubts: Doubts | None = None) -> Iterator[RawFrame]:
    """Decode the first video stream of a file, in display order. Rotation tags are not applied.

    path: any file that libav reads: mp4, mkv, avi, webm, ts, … doubts: default: `Doubts()`.
    Raises VideoError: not a video, no video stream, nothing decodes; with strict doubts, also damage and fewer frames
    than the file announces.
    """
    with quiet(), _open(path) as container:
        stream = video_stream(container, path)
        note = _take_counts(stream)
        for raw in _decode(path, container, stream, doubts or Doubts()):
            yield raw._replace(note=note) if note else raw


def _take_counts(stream: VideoStream) -> str:
    """Decode uncompressed 16-bit pixels, which libav takes for 15-bit colour, as the counts that they mostly are.

    Returns a note, empty if nothing was changed.
    """
    decoder = stream.codec_context
    if decoder.name != "rawvideo" or not (decoder.pix_fmt or "").startswith(("rgb555", "bgr555")):
        return ""
    decoder.pix_fmt = "gray16le"
    return "uncompressed pixels of 16 bits are read as counts, not as 15-bit colour"


def read_stamps(path: Path) -> Stamps:
    """The time stamps of a video file, without decoding it. Raises VideoError: not a video, no video stream."""
    with quiet(), _open(path) as container:
        stream = video_stream(container, path)
        clocks: list[list[float]] = [[]]  # the stamps of each clock: joined files begin again
        clock, latest_s = _Clock.of(container, stream), -inf
        with contextlib.suppress(av.FFmpegError):  # told when decoding
            for packet in container.demux(stream):
                if not packet.size or packet.is_discard:
                    continue
                decoded, shown = packet.dts, packet.pts
                decoded_s = latest_s if decoded is None else clock.shown_s(decoded)
                if decoded_s < latest_s - _RESTART_S:
                    clocks.append([])
                    latest_s = -inf
                latest_s = max(latest_s, decoded_s)
                clocks[-1].append(clock.shown_s(decoded if shown is None else shown))
        fps = stated_fps(stream)
        raw = container.format.flags & _NO_TIMESTAMPS and "image2" not in container.format.name
        note = f"the file has no time stamps: {fps or DEFAULT_FPS:g} frames/s is assumed; give the right one with --fps"
        return Stamps(np.concatenate([np.sort(clock) for clock in clocks]), fps, note if raw else "")


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
        container = av.open(str(path.absolute()), options=open_options(path))
    except (av.FFmpegError, ValueError, OSError) as error:
        if _is_flir(path):
            raise VideoError(
                f"{path}: a FLIR radiometric recording, which is not read; export it from FLIR's software as 16-bit "
                "TIFF, or as CSV of temperatures"
            ) from None
        raise VideoError(
            f"{path}: not a readable video ({reason(error)}); expected a whole video file such as mp4, mkv or avi:"
            " check that it was copied completely"
        ) from None
    if set(container.format.name.split(",")) & _NOT_VIDEO:
        container.close()
        raise VideoError(f"{path}: a text file, not a readable video; expected a file such as mp4, mkv or avi")
    return container


def _is_flir(path: Path) -> bool:
    """Whether this is a .seq, .csq or .fff file, by its name or first bytes."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return path.suffix.lower() in (".seq", ".csq", ".fff", ".fcf") or file.read(4) in (b"FFF\0", b"AFF\0")
    return False


def _fourcc(path: Path) -> str:
    """The code of an AVI file's video format, such as ` 'Y16 '`; empty for others."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(65536)
        at = head.find(b"strf")
        if head[8:11] == b"AVI" and at >= 0:
            return f" '{head[at + 24 : at + 28].decode('ascii', 'backslashreplace')}'"
    return ""


def video_stream(container: InputContainer, path: Path | None = None) -> VideoStream:
    """The first video stream; VideoError, naming `path` where given, if there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    found = ", ".join(stream.type for stream in container.streams) or "none"
    where = f"{path}: " if path is not None else ""
    kind = _fourcc(path) if path is not None else ""
    remedy = "; convert it to 16-bit TIFF or lossless FFV1" if kind.startswith(" 'Y16") else "; expected a video file"
    raise VideoError(f"{where}no video stream that can be decoded (streams: {found}{kind}){remedy}")


def stated_fps(stream: VideoStream) -> float | None:
    """The frame rate that a stream states, in frames per second."""
    rate: Fraction | None = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _decode(path: Path, container: InputContainer, stream: VideoStream, doubts: Doubts) -> Iterator[RawFrame]:
    """Decode to the end, then compare with the announced length."""
    count, accepted, fps, clock = 0, False, stated_fps(stream), _Clock.of(container, stream)
    end_s: float | None = None
    failure: str | None = None
    grey = GreyOfRecording()
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt and doubts.strict:
                raise _DamageError("a damaged packet")
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if accepted and doubts.strict:
                    raise
                # A recording of a running stream may begin in the middle of a group of pictures.
                if accepted:
                    doubts.lose()
                failure = failure if accepted else reason(error)
                continue
            if packet.size:
                accepted, failure = True, None
                ends = (end_s, _packet_end_s(packet, fps or DEFAULT_FPS))
                end_s = max((end for end in ends if end is not None), default=None)
            for frame in frames:
                if frame.is_corrupt and doubts.strict:
                    raise _DamageError("a damaged frame")
                if frame.is_corrupt:
                    doubts.lose()
                    continue
                count += 1
                doubts.use()
                yield RawFrame(grey(frame), clock.shown_s(frame.pts), fps, grey.note)
    except (av.FFmpegError, _DamageError) as error:
        failure = reason(error)
    short = failure or _cut_short(container, stream, count, end_s)
    if count == 0:
        raise VideoError(
            f"{path}: no frame decodes ({short or 'the video stream is empty'}); expected a playable video:"
            f" try to re-encode it: ffmpeg -i {path.name} repaired.mp4"
        )
    if doubts.damaged:
        doubts.notes.append(f"damaged: {counted(doubts.damaged, 'frame')}, {counted(doubts.gaps, 'gap')}")
    expected = _expected_frames(container, stream)
    of = f" of {expected}" if expected and expected > count else ""
    if short and doubts.strict:
        raise VideoError(
            f"{path}: the video is cut short or damaged: {count}{of} frames decode ({short}); copy it again,"
            f" or re-encode the readable part: ffmpeg -i {path.name} repaired.mp4"
        )
    if short:
        doubts.notes.append(f"cut short or damaged: {count}{of} frames decode ({short})")


def _cut_short(container: InputContainer, stream: VideoStream, count: int, end_s: float | None) -> str | None:
    """Why the file ends before its announced end; None if it does not.

    Compares times where they are known: edit lists and skipped frames make the count of an intact file smaller than
    announced, but not its duration.
    """
    rate = stated_fps(stream) or DEFAULT_FPS
    announced_s = _announced_end_s(container, stream)
    if announced_s is not None and end_s is not None:
        slack_s = max(_SLACK_FRAMES / rate, _SLACK_SHARE * announced_s)
        # Joined pieces begin their clocks again: then the number of frames tells.
        if max(end_s, count / rate) < announced_s - slack_s:
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

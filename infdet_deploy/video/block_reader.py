"""Frames of a recording in blocks, decoded ahead by a thread: for recordings larger than memory."""

import queue
import sys
import threading
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import chain, groupby, islice, repeat
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.video.arrays import ThermalArray
from infdet_deploy.video.background import BackgroundLevels, Levels
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.recording import check_rate, read_recording, recording_name, timeline_of
from infdet_deploy.video.resampling import Resampler
from infdet_deploy.video.resize import check_request, resize
from infdet_deploy.video.scene import Scene, SceneFrame
from infdet_deploy.video.thermal import count_values, grey_table
from infdet_deploy.video.timeline import FrameClock, Part
from infdet_deploy.video.timing import Doubts, RawFrame, counted

BLOCK_FRAMES = 64
BLOCKS_AHEAD = 4  # blocks decoded in advance
KEPT_BYTES = 256e6  # of a recording of more than 8 bits; a larger one is decoded twice

Block = tuple[int, NDArray[np.uint8]]  # number of the part, frames
TimedFrame = tuple[NDArray[np.uint8], float, int]  # frame, its time in seconds, number of its part


class BlockReader:
    """The frames of `read_video`, block by block. Iterate once, inside a `with` block, whose end stops the thread.

    No block contains frames of two parts (see `timeline`). Parts of fewer than `min_frames` are left out. Recordings of
    more than 8 bits are read for the range of their counts first; large ones are then decoded again.

    Attributes:
        name: as in `Video`.
        frames: frames so far; at the end, those of the recording.
        fps: frames per second; None before the end.
        parts: the stretches without a pause, complete at the end.
        notes: what the user should know about the recording, such as dead pixels; complete at the end.
    """

    def __init__(
        self,
        path: Path | str | ThermalArray,
        preparation: Preparation,
        fps: float | None = None,
        min_frames: int = 0,
        strict: bool = False,
    ) -> None:
        """path, fps, min_frames, strict: as in `read_video`. Errors in the recording are raised while iterating."""
        check_rate(fps)
        check_rate(preparation.frame_rate)
        if preparation.levels not in get_args(Levels):
            raise UsageError(f"unknown levels {preparation.levels!r}; expected one of: {', '.join(get_args(Levels))}")
        check_request(1 if preparation.size is None else preparation.size, preparation.mode)
        self._source = path if isinstance(path, ThermalArray) else Path(path)
        self._preparation, self._rate, self._min_frames = preparation, fps, min_frames
        self.name = recording_name(self._source)
        self.frames = 0
        self.fps: float | None = None
        self.parts: list[Part] = []
        self.notes: list[str] = []
        self._doubts, self._shortest_kept = Doubts(strict), max(min_frames, 1)
        self._left_out: list[int] = []  # frames of each part that is too short
        self._used = self._closed = False
        self._blocks = self._ahead()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Blocks, uint8 [n, size, size], n ≥ 1. Raises as `read_video`, when the decoder reaches the error.

        Raises RuntimeError when called again or after the `with` block.
        """
        return (block for _, block in self._use())

    def clips(self) -> Iterator[Iterator[NDArray[np.uint8]]]:
        """The blocks of each part in turn, instead of iterating; `parts` has a part when its blocks end."""
        for _, blocks in groupby(self._use(), itemgetter(0)):
            yield (block for _, block in blocks)

    def _use(self) -> Iterator[Block]:
        if self._used:
            raise RuntimeError(f"{self._source}: a BlockReader can be iterated only once; open another one")
        self._used = True
        return self._blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._used = True
        self._blocks.close()

    def _ahead(self) -> Generator[Block]:
        """Blocks, of which a thread decodes `BLOCKS_AHEAD` in advance."""
        ready: queue.Queue[Block | BaseException | None] = queue.Queue(BLOCKS_AHEAD - 1)  # one more waits
        thread = threading.Thread(target=self._fill, args=(ready,), name=f"decode {self.name}", daemon=True)
        thread.start()
        try:
            while (block := ready.get()) is not None:
                if isinstance(block, BaseException):
                    raise block
                self.frames += len(block[1])
                yield block
        finally:
            self._closed = True  # so that the thread ends now
            while thread.is_alive() and not sys.is_finalizing():
                with suppress(queue.Empty):
                    ready.get(timeout=0.02)  # the thread may be waiting for space

    def _fill(self, ready: "queue.Queue[Block | BaseException | None]") -> None:
        """In the thread: put all blocks, then None; or an error."""
        try:
            for part, frames in self._decode():
                while block := list(islice(frames, BLOCK_FRAMES)):
                    ready.put((part, np.stack(block)))
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    def _decode(self) -> Iterator[tuple[int, Iterator[NDArray[np.uint8]]]]:
        """The prepared frames of each part."""
        timeline, clock, notes = timeline_of(self._source, self._rate)
        self.fps = self._preparation.resampled(timeline) or timeline.fps
        if self.fps != timeline.fps and self._preparation.frame_rate is None:
            self.notes.append(f"{timeline.fps:g} frames/s: interpolated to the network's {self.fps:g}")
        resample = self._preparation.resampled(timeline) is not None
        for part, frames in groupby(self._levels(clock), itemgetter(2)):
            yield part, self._part(frames, self.fps, resample)
        if self._closed:
            return
        if not self.parts:
            longest = max(self._left_out, default=0)
            what = "clip" if len(self._left_out) < 2 else f"the longest of {len(self._left_out)} parts"
            raise VideoError(
                f"{self._source}: {what} has {longest} frames; at least {self._shortest_kept} are needed: use a longer"
                " recording"
            )
        self.notes += [*notes, *timeline.notes, *self._doubts.notes]
        if len(self.parts) + len(self._left_out) > 1:
            self.notes.append(
                f"{len(self.parts) + len(self._left_out)} parts: between them the recording pauses or its clock jumps"
            )
        if self._left_out:
            self.notes.append(
                f"left out: {counted(len(self._left_out), 'part')} of fewer than {self._shortest_kept} frames"
                f" ({counted(sum(self._left_out), 'frame')})"
            )

    def _part(self, frames: Iterator[TimedFrame], fps: float, resample: bool) -> Iterator[NDArray[np.uint8]]:
        """The prepared frames of one part; none if it is too short."""
        resampler = Resampler(fps) if resample else None
        held, times = [], array("d")
        for frame, time_s, _ in frames:
            for ready, at_s in [(frame, time_s)] if resampler is None else resampler.push(frame, time_s):
                times.append(at_s)
                held.append(ready)
                if len(times) >= self._shortest_kept:
                    yield from held
                    held.clear()
        if held:
            self._left_out.append(len(held))
        elif times:
            self.parts.append(Part(fps, np.array(times)))

    def _levels(self, clock: FrameClock) -> Iterator[TimedFrame]:
        """Grey frames at the requested size."""
        if self._preparation.levels == "background":
            yield from self._background(clock)
            return
        raws = self._alike(self._doubts)
        timed = ((raw, *clock.at(raw.time_s)) for raw in raws)
        for raw, time_s, part in timed:
            if raw.pixels.dtype != np.uint8:
                yield from self._counts(chain([(raw, time_s, part)], timed))
                return
            yield self._resized(raw.pixels), time_s, part

    def _counts(self, timed: Iterator[tuple[RawFrame, float, int]]) -> Iterator[TimedFrame]:
        """Frames of more than 8 bits as grey levels, with one range for each stretch of the scene."""
        histograms: list[NDArray[np.int64]] = []
        kept: list[NDArray[Any]] | None = []  # the counts, for short recordings
        times, parts, stretches = array("d"), array("q"), array("q")
        scene = Scene(ahead=True)
        for frame in _scene_frames(scene, timed):
            time_s, part = frame.context
            times.append(time_s)
            parts.append(part)
            stretches.append(frame.stretch)
            if frame.stretch == len(histograms):
                histograms.append(count_values(frame.pixels))
            elif not frame.held:
                histograms[-1] += count_values(frame.pixels)
            if kept is not None:
                kept.append(self._resized(frame.pixels))
                if kept[0].nbytes * len(kept) > KEPT_BYTES:
                    kept = None
        if self._closed:
            return
        self.notes += scene.notes()
        tables, index = [grey_table(histogram) for histogram in histograms], -1
        for index, pixels in enumerate(kept or self._again(times)):
            if index < len(times):
                yield tables[stretches[index]][pixels], times[index], parts[index]
        if index + 1 != len(times):
            raise VideoError(f"{self._source}: the file changed during reading; wait until it is complete")

    def _again(self, times: Sequence[float]) -> Iterator[NDArray[Any]]:
        """The frames of the scene, decoded a second time."""
        frames = zip(self._alike(Doubts()), chain(times, repeat(inf)), strict=False)
        timed = ((raw, time_s, 0) for raw, time_s in frames)
        for frame in _scene_frames(Scene(ahead=True), timed):
            yield self._resized(frame.pixels)

    def _background(self, clock: FrameClock) -> Iterator[TimedFrame]:
        """Frames as differences from the background, which is found anew in each part."""
        timed = ((raw, *clock.at(raw.time_s)) for raw in self._alike(self._doubts))
        for part, frames in groupby(timed, itemgetter(2)):
            levels = BackgroundLevels(causal=False)
            for raw, time_s, _ in frames:
                for frame, at_s in levels.push(self._resized(raw.pixels), time_s):
                    yield frame, at_s, part
            for frame, at_s in levels.finish():
                yield frame, at_s, part

    def _alike(self, doubts: Doubts) -> Iterator[RawFrame]:
        """The recording's frames; VideoError for one whose size or type differs from the first."""
        first = None
        for index, raw in enumerate(read_recording(self._source, doubts)):
            (height, width), dtype = raw.pixels.shape, raw.pixels.dtype
            kind = f"{width}x{height} {dtype}"
            first = first or kind
            if self._closed:
                return
            if raw.note and raw.note not in self.notes:
                self.notes.append(raw.note)
            if kind != first:
                raise VideoError(
                    f"{self._source}: frame {index} is {kind}, the first is {first};"
                    " expected one size throughout: re-encode the video to one size"
                )
            yield raw._replace(pixels=self._preparation.upright(raw.pixels))

    def _resized(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The frame at the requested size, always a new array."""
        size, mode = self._preparation.size, self._preparation.mode
        return pixels.copy() if size is None else resize(pixels, size, mode)


def _scene_frames(scene: Scene, timed: Iterator[tuple[RawFrame, float, int]]) -> Iterator[SceneFrame]:
    """The frames of the scene; their context is time and part."""
    for raw, time_s, part in timed:
        yield from scene.push(raw.pixels, time_s, (time_s, part))
    yield from scene.finish()


def frames_at(
    path: Path | ThermalArray,
    numbers: NDArray[np.int_],
    preparation: Preparation,
    fps: float | None = None,
    min_frames: int = 0,
) -> NDArray[np.uint8]:
    """Frames of a recording by number, in ascending order: uint8 [n, size, size], as from `BlockReader`."""
    found: list[NDArray[np.uint8]] = []
    with BlockReader(path, preparation, fps, min_frames) as stream:
        for block in stream:
            begin = stream.frames - len(block)
            found += [block[n - begin] for n in numbers if begin <= n < stream.frames]
    return np.stack(found)

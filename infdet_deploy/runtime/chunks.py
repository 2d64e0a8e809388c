"""Cuts a long clip into overlapping chunks whose features equal those of the whole clip."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length

CHUNK_SNIPPETS = 32  # features of a long clip computed at once
GROUP_CHUNKS = 4  # chunks of a recording that one tower computes before the other tower does
# A feature's receptive field is 107 frames, 108 in the flow tower: at most 46 before its own 16 and 46 after, rounded
# up to whole snippets.
HALO_FRAMES = 56  # on either side of a chunk

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Chunk:
    """Frames that the towers process together.

    frames: uint8 [count, S, S], plus the next frame unless the clip ends here. keep: the features that equal those of
    the whole clip.
    """

    frames: Frames
    count: int
    keep: slice


def chunks(frames: int, snippets: int) -> Iterator[tuple[int, int, slice]]:
    """Cut a clip of `frames` frames (a multiple of 4) into chunks of `snippets` features with their halo.

    Yields the first frame, the frame after the last, and which of the chunk's features to keep. Cuts are at whole
    snippets, so that strides and padding are aligned as in the whole clip.
    """
    total = feature_length(frames)
    if frames <= _longest_whole(snippets):
        snippets = total
    for first in range(0, total, snippets):
        yield _bounds(first, min(first + snippets, total), frames)


def _bounds(first: int, last: int, frames: int) -> tuple[int, int, slice]:
    """The chunk of features first … last−1, as in `chunks`."""
    start, stop = _first_frame(first), min(_end_frame(last), frames)
    offset = first - start // FRAMES_PER_SNIPPET
    return start, stop, slice(offset, offset + last - first)


def clip_chunks(frames: Frames, snippets: int) -> Iterator[Chunk]:
    """The chunks of a clip in memory, uint8 [T, S, S], T a multiple of 4."""
    for start, stop, keep in chunks(len(frames), snippets):
        yield Chunk(frames[start : stop + 1], stop - start, keep)


def stream_chunks(blocks: Iterable[Frames], snippets: int) -> Iterator[Chunk]:
    """The same chunks of a clip of unknown length that arrives in blocks, uint8 [n, S, S].

    A chunk's frames are valid until the next chunk is requested. At most 3 frames at the end are dropped.
    """
    window = _Window()
    first = 0  # the next chunk's first feature
    for block in blocks:
        window.append(block)
        # The clip may go on: a chunk must be neither its last nor its only one.
        while window.frames > _longest_whole(snippets) and window.frames > _end_frame(first + snippets):
            start, stop, keep = _bounds(first, first + snippets, window.frames)
            yield Chunk(window.cut(start, stop + 1), stop - start, keep)
            first += snippets
            window.drop(_first_frame(first))
    for start, stop, keep in chunks(window.frames, snippets):
        if start // FRAMES_PER_SNIPPET + keep.start >= first:
            yield Chunk(window.cut(start, min(stop + 1, window.frames)), stop - start, keep)


def groups(clip: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    """Lists of `size` chunks, the last one shorter; their frames are copies."""
    group: list[Chunk] = []
    for chunk in clip:
        group.append(replace(chunk, frames=chunk.frames.copy()))
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _longest_whole(snippets: int) -> int:
    """Frames of the longest clip that is not cut."""
    return snippets * FRAMES_PER_SNIPPET + 2 * HALO_FRAMES


def _first_frame(first: int) -> int:
    return max(first * FRAMES_PER_SNIPPET - HALO_FRAMES, 0)


def _end_frame(last: int) -> int:
    # a feature covers 16 frames, one snippet more than its stride
    return (last + 1) * FRAMES_PER_SNIPPET + HALO_FRAMES


class _Window:
    """The frames of a clip from `_begin` to `_end`, in one buffer that grows as needed."""

    def __init__(self) -> None:
        self._buffer = np.empty((0, 0, 0), np.uint8)
        self._begin = self._end = 0

    @property
    def frames(self) -> int:
        """Frames of the clip so far, rounded down to a multiple of 4."""
        return self._end // 4 * 4

    def append(self, block: Frames) -> None:
        count = self._end - self._begin
        if count + len(block) > len(self._buffer):
            larger = np.empty((count + 2 * len(block), *block.shape[1:]), np.uint8)
            if count:
                larger[:count] = self._buffer[:count]
            self._buffer = larger
        self._buffer[count : count + len(block)] = block
        self._end += len(block)

    def cut(self, start: int, stop: int) -> Frames:
        return self._buffer[start - self._begin : stop - self._begin]

    def drop(self, start: int) -> None:
        """Remove the frames before `start`."""
        kept = self._buffer[start - self._begin : self._end - self._begin]
        self._buffer[: len(kept)] = kept  # numpy copies overlapping slices correctly
        self._begin = start

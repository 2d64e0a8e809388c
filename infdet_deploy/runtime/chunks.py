"""Cuts a long clip into overlapping chunks whose features equal those of the whole clip."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


def clip_chunks(blocks: Iterable[Frames], snippets: int) -> Iterator[Chunk]:
    """The chunks of a clip that arrives in one or more blocks, uint8 [n, S, S].

    At most 3 frames at the end are dropped.
    """
    held = np.empty((0, 0, 0), np.uint8)  # the clip's frames from `begin`
    begin = frames = first = 0  # first: the next chunk's first feature
    for block in blocks:
        held = np.concatenate((held, block)) if len(held) else block
        frames = (begin + len(held)) // 4 * 4
        # The clip may go on: a chunk must be neither its last nor its only one.
        while frames > _longest_whole(snippets) and frames > _end_frame(first + snippets):
            start, stop, keep = _bounds(first, first + snippets, frames)
            yield Chunk(held[start - begin : stop + 1 - begin], stop - start, keep)
            first += snippets
            start = _first_frame(first)
            held, begin = held[start - begin :], start
    for start, stop, keep in chunks(frames, snippets):
        if start // FRAMES_PER_SNIPPET + keep.start >= first:
            yield Chunk(held[start - begin : min(stop + 1, frames) - begin], stop - start, keep)


def _longest_whole(snippets: int) -> int:
    """Frames of the longest clip that is not cut."""
    return snippets * FRAMES_PER_SNIPPET + 2 * HALO_FRAMES


def _first_frame(first: int) -> int:
    return max(first * FRAMES_PER_SNIPPET - HALO_FRAMES, 0)


def _end_frame(last: int) -> int:
    # a feature covers 16 frames, one snippet more than its stride
    return (last + 1) * FRAMES_PER_SNIPPET + HALO_FRAMES

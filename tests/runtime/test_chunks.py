"""Chunks contain every feature once, in whatever blocks a clip arrives."""

import numpy as np
import pytest

from infdet_deploy.runtime.chunks import chunks, clip_chunks
from infdet_deploy.snippets import feature_length


@pytest.mark.parametrize("snippets", [1, 3, 32])
def test_chunks_cover_every_feature_once(snippets):
    for frames in range(16, 700, 4):
        kept = []
        for start, stop, keep in chunks(frames, snippets):
            assert 0 <= start < stop <= frames
            assert start % 8 == 0
            assert stop == frames or stop % 8 == 0
            assert stop - start <= max(snippets * 8 + 2 * 56 + 8, snippets * 8 + 2 * 56)
            assert 0 <= keep.start < keep.stop <= feature_length(stop - start)
            kept += [start // 8 + i for i in range(keep.start, keep.stop)]
        assert kept == list(range(feature_length(frames))), frames


@pytest.mark.parametrize("block", [1, 5, 64, 1000])
@pytest.mark.parametrize("snippets", [1, 4])
def test_chunks_of_a_clip_in_blocks(snippets, block):
    clip = np.arange(330, dtype=np.uint16).view(np.uint8).reshape(330, 1, 2)  # every frame its number
    for frames in range(16, 331):
        whole = list(chunks(frames // 4 * 4, snippets))
        blocks = (clip[first : min(first + block, frames)] for first in range(0, frames, block))
        found = list(clip_chunks(blocks, snippets))
        assert [(one.count, one.keep) for one in found] == [(stop - start, keep) for start, stop, keep in whole], frames
        for chunk, (start, stop, _) in zip(found, whole, strict=True):
            assert np.array_equal(chunk.frames, clip[start : min(stop + 1, frames // 4 * 4)])


def test_chunks_need_little_memory():
    held = []

    def blocks():
        for number in range(500):
            held.append(number)
            yield np.full((8, 2, 2), number % 251, np.uint8)

    for index, _ in enumerate(clip_chunks(blocks(), 4)):
        # chunk 0 ends 96 frames in, every other 32 frames later
        assert len(held) * 8 <= 96 + 32 * index + 56 + 16

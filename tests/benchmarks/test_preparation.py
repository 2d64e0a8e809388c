"""Decoding and resizing are timed on a real recording."""

import numpy as np

from infdet_deploy.benchmarks import preparation


def test_all_frames_are_decoded_and_resized(monkeypatch):
    resized = []
    monkeypatch.setattr(preparation, "resize", lambda *given: resized.append(given))
    found = preparation.measure_preparation(20, 64, "crop")
    assert len(resized) == found.runs == preparation.RUNS
    for frames, size, mode in resized:
        assert (frames.shape, frames.dtype, size, mode) == ((20, 120, 160), np.uint8, 64, "crop")
        assert frames.std() > 10  # a picture, not black
    assert found.decode_ms > 0
    assert 0 <= found.preprocess_ms < found.decode_ms  # nothing was resized
    assert (found.codec, found.width, found.height) == ("libx264", 160, 120)

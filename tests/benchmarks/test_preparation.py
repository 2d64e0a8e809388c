"""Decoding and resizing are timed on a real recording."""

import av
import numpy as np
import pytest

from infdet_deploy.benchmarks import preparation
from infdet_deploy.video.containers import read_container


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


@pytest.mark.parametrize("have", [("libx264", "mpeg4", "ffv1"), ("mpeg4", "ffv1"), ("ffv1",)])
def test_the_first_available_codec_is_used(tmp_path, monkeypatch, have):
    monkeypatch.setattr(av, "codecs_available", set(have))
    pictures = preparation.sample_frames(12, 160)[:, :120]
    assert preparation._encode(tmp_path / "clip.mkv", pictures) == have[0]
    read = []
    read_container(tmp_path / "clip.mkv", lambda picture: read.append(picture.copy()))
    error = np.abs(np.stack(read).astype(int) - pictures)
    assert error.max() == 0 if have[0] == "ffv1" else error.mean() < 6

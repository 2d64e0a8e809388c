"""Grey frames written as video, with the first codec that libav has."""

import av
import numpy as np
import pytest

from infdet_deploy.video import read_video
from infdet_deploy.video.sample import sample_frames
from infdet_deploy.video.writing import write_video


@pytest.mark.parametrize("have", [("libx264", "mpeg4", "ffv1"), ("mpeg4", "ffv1"), ("ffv1",)])
def test_the_first_available_codec_is_used(tmp_path, monkeypatch, have):
    monkeypatch.setattr(av, "codecs_available", set(have))
    pictures = sample_frames(12, 160)[:, :120]
    assert write_video(tmp_path / "clip.mkv", pictures, 12.5) == have[0]
    video = read_video(tmp_path / "clip.mkv")
    assert video.fps == pytest.approx(12.5)
    error = np.abs(video.frames.astype(int) - pictures)
    assert error.max() == 0 if have[0] == "ffv1" else error.mean() < 6

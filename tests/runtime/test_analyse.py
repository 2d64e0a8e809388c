"""`analyse`: the same scores as for frames in memory, in constant memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.errors import VideoError
from infdet_deploy.runtime import detector as pipeline
from infdet_deploy.runtime.detector import Detector
from tests.video.recordings import write_video
from tests.video.test_block_reader import recording


@pytest.fixture(scope="module")
def detector(tiny_bundle):
    # Whole up to 144 frames, then cut every 32; the long one below also fills a group of chunks.
    with Detector(tiny_bundle, chunk_snippets=4) as ready:
        yield ready


@pytest.mark.parametrize("frames", [16, 17, 100, 144, 147, 148, 152, 175, 179, 331])
def test_scores_are_those_of_the_frames_in_memory(detector, tmp_path, tiny_clip, frames):
    path = write_video(tmp_path / "a.mkv", tiny_clip(frames), "ffv1", "gray")
    seen = []
    found = detector.analyse(path, on_frames=seen.append)
    video = detector.read(path)
    scores = detector.scores(video.frames)
    assert np.array_equal(found.scores, scores)
    assert found.detections == detector.detections(scores, frames, video.fps) == detector.detect(path)
    assert (found.name, found.frames, found.fps, found.duration_s) == ("a", frames, 25.0, frames / 25)
    assert seen == sorted(seen)
    assert seen[-1] == 8 * len(scores)


@pytest.mark.parametrize("kind", ["16-bit video", "pictures", "tiff"])
def test_other_recordings(detector, tmp_path, tiny_clip, kind):
    path = recording(kind, tmp_path, tiny_clip(170))
    assert np.array_equal(detector.analyse(path, fps=9).scores, detector.scores(detector.read(path).frames))


def test_a_head_in_blocks_differs_only_by_rounding(detector, tmp_path, tiny_clip, monkeypatch):
    path = write_video(tmp_path / "a.mkv", tiny_clip(331), "ffv1", "gray")
    whole = detector.analyse(path)
    assert whole.detections
    monkeypatch.setattr(pipeline, "HEAD_SNIPPETS", 30)
    monkeypatch.setattr("infdet_deploy.runtime.long_head.BLOCK", 16)
    found = detector.analyse(path)
    assert np.abs(found.scores - whole.scores).max() < 1e-6
    assert np.array_equal(found.scores, detector.scores(detector.read(path).frames))
    assert [(d.label, d.start_s, d.end_s) for d in found.detections] == [
        (d.label, d.start_s, d.end_s) for d in whole.detections
    ]


def test_short_recording_is_refused(detector, tmp_path, tiny_clip):
    path = write_video(tmp_path / "a.mkv", tiny_clip(15), "ffv1", "gray")
    with pytest.raises(VideoError, match="clip has 15 frames; at least 16"):
        detector.detect(path)


MEASURE = """
import sys
from infdet_deploy.system import peak_memory_bytes
from infdet_deploy.runtime import long_head
from infdet_deploy.runtime import detector as pipeline
pipeline.HEAD_SNIPPETS = 30
long_head.BLOCK = 32
with pipeline.Detector(sys.argv[1], chunk_snippets=8) as detector:
    assert detector.analyse(sys.argv[2]).frames == int(sys.argv[3])
print(peak_memory_bytes())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(stream_bundle, tmp_path):
    peaks = []
    one = np.random.default_rng(0).integers(0, 255, (100, 32, 32), np.uint8)
    for frames in (500, 5000):
        path = write_video(tmp_path / f"{frames}.mkv", np.concatenate([one] * (frames // 100)), "ffv1", "gray")
        words = (sys.executable, "-c", MEASURE, str(stream_bundle), str(path), str(frames))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path.cwd()), os.environ.get("PYTHONPATH", "")))}
        peaks.append(int(subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE).stdout))
    assert peaks[1] < 1.1 * peaks[0], peaks

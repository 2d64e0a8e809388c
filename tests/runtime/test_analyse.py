"""`analyse`: the same scores as for frames in memory, in constant memory."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.bundle.loading import Bundle, load_bundle
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


def test_each_side_of_a_pause_is_a_clip_of_its_own(detector, tmp_path, tiny_clip):
    pts = [40 * n + 60_000 * (n >= 60) for n in range(100)]
    path = write_video(tmp_path / "a.mkv", tiny_clip(100), "ffv1", "gray", pts=pts)
    seen = []
    found, video = detector.analyse(path, on_frames=seen.append), detector.read(path)
    scores = [detector.scores(frames) for _, frames in video.clips]
    assert np.array_equal(found.scores, np.concatenate(scores))
    assert [len(part.times_s) for part in found.parts] == [60, 40]
    assert (found.frames, found.fps, found.duration_s) == (100, 25.0, pytest.approx(64.0))
    assert seen == sorted(seen)
    before, after = detector.detections(scores[0], 60, 25.0), detector.detections(scores[1], 40, 25.0)
    expected = {(d.label, round(d.start_s, 6), round(d.end_s, 6)) for d in before}
    expected |= {(d.label, round(d.start_s + 62.4, 6), round(d.end_s + 62.4, 6)) for d in after}
    assert before
    assert after
    assert {(d.label, round(d.start_s, 6), round(d.end_s, 6)) for d in found.detections} == expected
    assert detector.detect(video) == found.detections


def test_a_doubled_rate_and_dropped_frames_give_the_same_actions(tiny_bundle, tmp_path, tiny_clip, monkeypatch):
    """A stand-in for the head scores brightness; frames 40 to 79 of 160 are bright."""
    bundle = load_bundle(tiny_bundle)
    manifest = replace(bundle.manifest, preprocessing=replace(bundle.manifest.preprocessing, fps=25.0))
    dark, pts = np.zeros((320, 64, 64), np.uint8), np.arange(320) * 20
    dark[80:160] = 255
    dropped = np.random.default_rng(0).random(160) > 0.04
    dropped[[0, 159]] = True
    clips = {
        "plain": (dark[::2], pts[::2]), "doubled": (dark, pts), "dropped": (dark[::2][dropped], pts[::2][dropped]),
        "late": (dark[::2], pts[::2] + 60_000 * (pts[::2] >= 5000)),
    }  # fmt: skip

    def brightness(self, tower, chunk, timings):
        level = chunk.frames[: chunk.count].mean(axis=(1, 2)) / 255
        return np.convolve(level, np.ones(16) / 16, "valid")[::8][:, None].astype(np.float32)[chunk.keep]

    def head(self, features, frames, timings=None):
        return np.repeat(next(iter(features.values()))[:], 3, axis=1)

    monkeypatch.setattr(Detector, "_chunk_features", brightness)
    monkeypatch.setattr(Detector, "scores_of", head)
    with Detector(Bundle(bundle.path, manifest)) as detector:
        plain = None
        for name, (frames, times) in clips.items():
            path = write_video(tmp_path / f"{name}.mkv", frames, "ffv1", "gray", pts=times.tolist())
            found = detector.analyse(path).detections
            assert [one.label for one in found] == list(bundle.classes), name
            plain = plain or found
            for one, other in zip(found, plain, strict=True):
                assert one.start_s == pytest.approx(other.start_s, abs=0.32), name
                assert one.end_s == pytest.approx(other.end_s, abs=0.32), name
        assert [one.start_s for one in plain] == pytest.approx([1.6] * 3, abs=0.33)
        assert [one.end_s for one in plain] == pytest.approx([3.2] * 3, abs=0.33)
        kept = detector.analyse(tmp_path / "doubled.mkv", resample=False)
        assert (kept.fps, kept.frames) == (50.0, 320)


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

"""The time of every frame in many kinds of containers, and what of damaged ones is read."""

from fractions import Fraction

import av
import numpy as np
import pytest

from infdet_deploy.video import read_video
from infdet_deploy.video.block_reader import BlockReader
from infdet_deploy.video.frames import read_prepared
from infdet_deploy.video.preparation import Preparation
from tests.video.recordings import moving_scene, write_video

# Container, codec, pixels, frames per second, tick of the container in seconds.
KINDS = [
    ("mp4", "libx264", "yuv420p", 25, 1 / 12800), ("mp4", "mpeg4", "yuv420p", Fraction(30000, 1001), 1 / 30000),
    ("mov", "libx264", "yuv420p", 9, 1 / 9216), ("mkv", "libx264", "yuv420p", Fraction(25, 2), 1e-3),
    ("mkv", "ffv1", "gray", 50, 1e-3), ("webm", "libvpx", "yuv420p", 15, 1e-3),
    ("avi", "mjpeg", "yuvj420p", 60, 1 / 60), ("avi", "mpeg4", "yuv420p", 8, 1 / 8),
    ("ts", "libx264", "yuv420p", 25, 1 / 90000), ("flv", "flv", "yuv420p", 25, 1e-3),
    ("nut", "ffv1", "gray", 30, 1 / 30), ("y4m", "wrapped_avframe", "yuv420p", 20, 1 / 20),
    ("gif", "gif", "gray", 10, 0.01), ("mpg", "mpeg2video", "yuv420p", 25, 1 / 90000),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "codec", "pixels", "rate", "tick_s"), KINDS)
def test_every_frame_has_its_time(tmp_path, kind, codec, pixels, rate, tick_s):
    path = write_video(tmp_path / f"a.{kind}", moving_scene(40, 48, 64), codec, pixels, rate=rate)
    video = read_video(path)
    assert len(video.frames) == 40
    assert video.fps == pytest.approx(float(rate), rel=1e-3)
    assert np.abs(video.timestamps_s - np.arange(40) / float(rate)).max() <= tick_s
    assert video.duration_s == pytest.approx(40 / rate, abs=2e-3)
    assert len(video.parts) == 1
    assert video.parts[0].even


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_uneven_times_and_a_pause_are_exact(tmp_path, kind):
    pts = np.cumsum(np.random.default_rng(1).integers(20, 200, 60))
    pts[30:] += 60_000
    path = write_video(tmp_path / f"a.{kind}", moving_scene(60, 48, 64), "libx264", "yuv420p", pts=pts.tolist())
    video = read_video(path)
    assert np.abs(video.timestamps_s - (pts - pts[0]) / 1000).max() < 1e-6
    assert [len(part.times_s) for part in video.parts] == [30, 30]
    assert [len(frames) for _, frames in video.clips] == [30, 30]
    assert video.notes == ("2 parts: between them the recording pauses or its clock jumps",)


def test_parts_that_are_too_short_are_left_out(tmp_path):
    pts = [40 * n + 5000 * (n >= 20) + 5000 * (n >= 27) for n in range(60)]
    path = write_video(tmp_path / "a.mkv", moving_scene(60, 48, 64), "ffv1", "gray", pts=pts)
    with BlockReader(path, Preparation(32), min_frames=16) as stream:
        assert [sum(map(len, blocks)) for blocks in stream.clips()] == [20, 33]
        assert [part.times_s[0] for part in stream.parts] == pytest.approx([0, 11.08])
        assert stream.notes[-1] == "left out: 1 part of fewer than 16 frames (7 frames)"
    assert len(read_video(path).frames) == 60


def test_a_recording_at_another_rate_is_interpolated(tmp_path):
    scene = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[:, None, None], 32, 1).repeat(32, 2)
    pts = [20 * n + 30_000 * (n >= 30) for n in range(60)]
    path = write_video(tmp_path / "a.mkv", scene, "ffv1", "gray", pts=pts)
    video = read_prepared(path, Preparation(trained_fps=25.0))
    assert video.fps == 25
    assert [len(part.times_s) for part in video.parts] == [15, 15]
    assert video.timestamps_s[[0, 14, 15, 29]].tolist() == pytest.approx([0, 0.56, 30.6, 31.16])
    assert video.frames[:, 0, 0].tolist() == [*range(0, 120, 8), *range(120, 240, 8)]
    assert video.notes[0] == "50 frames/s: interpolated to the network's 25"
    assert len(read_prepared(path, Preparation()).frames) == 60
    assert read_prepared(path, Preparation(trained_fps=25.0), fps=25).fps == 25


def test_a_video_that_starts_after_the_sound(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=8000, layout="mono")
        for index in range(0, 32000, 1024):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 8000, index
            container.mux(audio.encode(sound))
        for number, picture in enumerate(moving_scene(40, 64, 64)):
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts, frame.time_base = 50 + number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    video = read_video(path)
    assert video.timestamps_s[[0, -1]].tolist() == pytest.approx([2.0, 3.56], abs=0.13)  # AAC's own delay
    assert video.duration_s == pytest.approx(video.timestamps_s[0] + 1.6)


def test_joined_transport_streams_go_on(tmp_path):
    one = write_video(tmp_path / "a.ts", moving_scene(50, 48, 64), "libx264", "yuv420p")
    (tmp_path / "b.ts").write_bytes(one.read_bytes() * 2)
    video = read_video(tmp_path / "b.ts")
    assert len(video.frames) == 100
    assert video.fps == 25
    assert video.duration_s == pytest.approx(4.0)
    assert np.diff(video.timestamps_s).tolist() == pytest.approx([0.04] * 99, abs=1e-4)
    assert [len(part.times_s) for part in video.parts] == [50, 50]


def test_one_damaged_picture_is_left_out(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_scene(60, 48, 64), "mjpeg", "yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [n for n in range(len(data)) if data[n : n + 2] == b"\xff\xd8"]
    data[starts[30] : starts[31] - 8] = bytes(starts[31] - 8 - starts[30])
    path.write_bytes(data)
    video = read_video(path)
    assert video.timestamps_s.tolist() == pytest.approx([n / 25 for n in range(60) if n != 30])
    assert video.notes == ("damaged: 1 frame, 1 gap",)
    assert video.duration_s == pytest.approx(2.4)

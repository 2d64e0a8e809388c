import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.video import Video, read_video
from infdet_deploy.video.timing import RawFrame
from tests.video.recordings import moving_scene, write_video


@pytest.fixture
def nine_frames(tmp_path):
    return write_video(tmp_path / "nine.mkv", moving_scene(9), "ffv1", "gray")


def test_a_video_is_frozen(nine_frames):
    video = read_video(str(nine_frames))
    assert isinstance(video, Video)
    assert video.frames.dtype == np.uint8
    assert video.timestamps_s.dtype == np.float64
    assert len(video.timestamps_s) == len(video.frames) == 9
    with pytest.raises(dataclasses.FrozenInstanceError):
        video.fps = 3


def test_short_clips_are_refused(nine_frames):
    assert len(read_video(nine_frames, min_frames=9).frames) == 9
    with pytest.raises(VideoError, match="clip has 9 frames; at least 16 are needed"):
        read_video(nine_frames, min_frames=16)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(VideoError, match="no such file or folder"):
        read_video(tmp_path / "none.mp4")
    for name in ("a.mp4", "a.cptv", "a.tif"):
        (tmp_path / name).touch()
        with pytest.raises(VideoError, match="the file is empty"):
            read_video(tmp_path / name)


def test_every_message_is_one_line(tmp_path):
    for name, content in (("a.mp4", b"x\n" * 99), ("a.cptv", b"x\n" * 99), ("a.tif", b"II*\0"), ("b.tif", b"x\n" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError) as caught:
            read_video(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_senseless_requests_are_refused_before_reading(nine_frames):
    with pytest.raises(UsageError, match="unknown resize mode"):
        read_video(nine_frames, size=224, mode="fit")
    with pytest.raises(UsageError, match="unknown resize mode"):
        read_video(nine_frames, mode="fit")
    with pytest.raises(UsageError, match="frame size is -1"):
        read_video(nine_frames, size=-1)
    for fps in (0, -3, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="expected frames per second"):
            read_video(nine_frames, fps=fps)


def test_a_size_that_changes_is_refused(tmp_path, monkeypatch):
    frames = [RawFrame(np.zeros((6, width), np.uint8)) for width in (4, 5)]
    for module in ("block_reader", "recording"):
        monkeypatch.setattr(f"infdet_deploy.video.{module}.read_recording", lambda *_: iter(frames))
    with pytest.raises(VideoError, match="frame 1 is 5x6 uint8, the first is 4x6 uint8"):
        read_video(tmp_path / "a.tif", 8)


def test_the_package_needs_only_numpy_and_av():
    code = (
        "import sys\n"
        "for name in ('torch', 'cv2', 'onnx', 'cptv', 'tifffile', 'openvino'): sys.modules[name] = None\n"
        "import infdet_deploy.video"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""The example programs print the detections of Python's Detector."""

import subprocess

import numpy as np
import pytest

from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video import read_video
from tests.video.recordings import cut, moving_scene, write_video


@pytest.fixture(scope="module")
def example(cpp_build):
    """`example(NAME, arguments…, stdin=bytes)`: run a program; its output lines as tuples."""

    def run(name, *arguments, stdin=b"", status=0):
        program = cpp_build / "examples" / name
        if not program.exists():
            pytest.skip(f"{name} was not built: FFmpeg's libraries are not installed")
        done = subprocess.run([program, *map(str, arguments)], input=stdin, capture_output=True)
        assert done.returncode == status, done.stderr
        lines = (done.stderr if status else done.stdout).decode().splitlines()
        return lines if status else [(label, *map(float, rest)) for label, *rest in (o.split("\t") for o in lines)]

    return run


@pytest.fixture(scope="module")
def recording(nine_clips):
    return sorted((nine_clips / "videos").iterdir())[0]


@pytest.fixture(scope="module")
def reference(tiny_bundle, recording):
    with Detector(tiny_bundle) as detector:
        return [(d.label, d.start_s, d.end_s, d.score) for d in detector.detect(recording)]


def assert_printed(lines, reference):
    assert reference
    assert [line[0] for line in lines] == [d[0] for d in reference]
    assert np.array([line[1:] for line in lines]) == pytest.approx(np.array([d[1:] for d in reference]), rel=1e-5)


def test_any_video(example, tiny_bundle, recording, reference):
    assert_printed(example("infdet-detect", tiny_bundle, recording), reference)
    (line,) = example("infdet-detect", tiny_bundle, "none.mp4", status=1)
    assert line == "none.mp4: No such file or directory"
    (line,) = example("infdet-detect", "none.infdet", recording, status=1)
    assert line.startswith("no such bundle: none.infdet")


def test_what_is_missing_of_a_cut_video_is_reported(cpp_build, tiny_bundle, tmp_path):
    program = cpp_build / "examples" / "infdet-detect"
    if not program.exists():
        pytest.skip("infdet-detect was not built: FFmpeg's libraries are not installed")
    path = cut(write_video(tmp_path / "clip.mkv", moving_scene(120), "ffv1", "gray"), 0.5)
    done = subprocess.run([program, tiny_bundle, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the file announces 4.8 s, 2." in done.stderr


def test_raw_frames_through_a_pipe(example, tiny_bundle, recording, reference):
    video = read_video(recording)
    height, width = video.frames.shape[1:]
    header = f"YUV4MPEG2 W{width} H{height} F{round(video.fps)}:1 Ip Cmono\n".encode()
    frames = b"".join(b"FRAME\n" + frame.tobytes() for frame in video.frames)
    assert_printed(example("infdet-detect-y4m", tiny_bundle, stdin=header + frames), reference)
    assert_printed(example("infdet-detect-y4m", tiny_bundle, stdin=header + frames + b"FRAME\ncut"), reference)
    (line,) = example("infdet-detect-y4m", tiny_bundle, stdin=b"RIFF....", status=1)
    assert line.startswith("standard input is not a grey YUV4MPEG2 stream")
    (line,) = example("infdet-camera", tiny_bundle, stdin=header + frames, status=1)
    assert "has no incremental towers; export it again with infdet-deploy export RUN" in line

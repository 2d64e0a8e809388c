import os
import re
from pathlib import Path

import av
import numpy as np
import pytest

from infdet_deploy.errors import VideoError
from infdet_deploy.video import read_video, to_8bit
from tests.video.recordings import cut, moving_scene, write_video

SCENE = moving_scene()


def worst(first, second):
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize(("pixels", "source"), [("gray", "gray"), ("bgr0", "rgb24")])
def test_lossless_video_is_exact(tmp_path, pixels, source):
    frames = SCENE if source == "gray" else np.repeat(SCENE[..., None], 3, axis=3)
    video = read_video(write_video(tmp_path / "a.mkv", frames, "ffv1", pixels, source))
    assert video.name == "a"
    assert (video.frames == SCENE).all()
    assert video.fps == 25
    assert video.timestamps_s.tolist() == pytest.approx([t / 25 for t in range(60)])
    assert video.duration_s == pytest.approx(2.4)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "tolerance"),
    [
        ("a.mp4", "libx264", "yuv420p", 5),  # video range (16–235) comes back as 0–255
        ("a.mkv", "libx264", "yuv420p10le", 5),
        ("a.ts", "libx264", "yuv420p", 5),
        ("a.avi", "mjpeg", "yuvj420p", 60),
        ("a.mov", "rawvideo", "yuyv422", 2),
    ],
)
def test_colour_formats_give_the_grey_scene(tmp_path, name, codec, pixels, tolerance):
    video = read_video(write_video(tmp_path / name, SCENE, codec, pixels))
    assert worst(video.frames, SCENE) <= tolerance
    assert np.abs(video.frames.mean() - SCENE.mean()) < 1
    assert video.fps == pytest.approx(25)
    assert video.timestamps_s[-1] == pytest.approx(59 / 25, abs=1e-3)


def test_16_bit_grey_takes_one_range_for_the_clip(tmp_path):
    counts = SCENE.astype(np.uint16) * 11 + np.arange(60, dtype=np.uint16)[:, None, None] * 50 + 7000
    path = write_video(tmp_path / "a.mkv", counts, "ffv1", "gray16le", "gray16le")
    assert (read_video(path).frames == to_8bit(counts)).all()
    small = read_video(path, size=48).frames
    assert small.shape == (60, 48, 48)
    assert abs(small[-1].mean() - to_8bit(counts)[-1].mean()) < 1


def test_frames_are_resized_as_they_come(tmp_path):
    from infdet_deploy.video import resize

    path = write_video(tmp_path / "a.mkv", SCENE, "ffv1", "gray")
    assert (read_video(path, size=56).frames == resize(SCENE, 56)).all()
    assert (read_video(path, size=56, mode="crop").frames == resize(SCENE, 56, "crop")).all()


def test_variable_frame_rate_keeps_its_times(tmp_path):
    pts = [0, 100, 200, 500, 600, 1000, 1300, 1400, 1500, 2000]
    video = read_video(write_video(tmp_path / "a.mkv", SCENE[:10], "ffv1", "gray", pts=pts))
    assert video.timestamps_s.tolist() == pytest.approx([value / 1000 for value in pts])
    assert video.fps == pytest.approx(10)  # not the mean rate, 4.5
    assert video.duration_s == pytest.approx(2.1)


def test_the_callers_rate_overrules_the_file(tmp_path):
    video = read_video(write_video(tmp_path / "a.mkv", SCENE, "ffv1", "gray"), fps=10)
    assert video.fps == 10
    assert video.timestamps_s[:3].tolist() == pytest.approx([0, 0.1, 0.2])


def test_a_cut_mp4_with_its_index_in_front_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", SCENE, "libx264", "yuv420p", movflags="faststart")
    assert len(read_video(path).frames) == 60
    with pytest.raises(VideoError, match=r"cut short or damaged: 3\d of 60 frames decode .*ffmpeg -i cut_a.mp4"):
        read_video(cut(path, 0.6), strict=True)
    video = read_video(cut(path, 0.6))
    assert 30 <= len(video.frames) < 40
    assert re.fullmatch(r"cut short or damaged: 3\d of 60 frames decode \(.*\)", video.notes[-1])


def test_a_cut_mp4_without_its_index_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", SCENE, "libx264", "yuv420p")
    with pytest.raises(VideoError, match="not a readable video"):
        read_video(cut(path, 0.6))


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_cut_mkv_is_refused(tmp_path, codec, share):
    path = write_video(tmp_path / "a.mkv", SCENE, codec, "yuv420p")
    with pytest.raises(VideoError, match=r"cut short or damaged: \d+ of 60 frames decode"):
        read_video(cut(path, share), strict=True)
    video = read_video(cut(path, share))
    assert len(video.frames) == pytest.approx(60 * share, abs=6)
    assert "cut short" in video.notes[-1]


def test_a_cut_avi_is_refused(tmp_path):
    path = write_video(tmp_path / "a.avi", SCENE, "mjpeg", "yuvj420p")
    with pytest.raises(VideoError, match=r"cut short or damaged: \d+ of 60 frames decode"):
        read_video(cut(path, 0.6), strict=True)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("b.mkv", "ffv1")])
def test_a_hole_in_the_middle_is_refused(tmp_path, name, codec):
    path = write_video(tmp_path / name, SCENE, codec, "yuv420p")
    data = bytearray(path.read_bytes())
    begin, length = len(data) // 2, len(data) // 20
    data[begin : begin + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"cut short or damaged: \d+ of 60 frames decode"):
        read_video(path, strict=True)
    video = read_video(path)
    assert 30 <= len(video.frames) < 60
    assert any(note.startswith(("damaged: ", "cut short")) for note in video.notes)


@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a"])
def test_text_and_noise_are_no_videos(tmp_path, name):
    path = tmp_path / name
    path.write_text("not a video\n" * 50)
    with pytest.raises(VideoError, match="not a readable video"):
        read_video(path)
    path.write_bytes(np.random.default_rng(2).bytes(20000))
    with pytest.raises(VideoError, match=r"not a readable video|no video stream"):
        read_video(path)


def test_sound_alone_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"no video stream that can be decoded \(streams: audio\)"):
        read_video(path)


def test_a_file_of_which_no_frame_decodes_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", SCENE, "libx264", "yuv420p", movflags="faststart")
    head, payload = path.read_bytes().split(b"mdat", 1)
    path.write_bytes(head + b"mdat" + bytes(len(payload)))
    with pytest.raises(VideoError, match="no frame decodes"):
        read_video(path)


def test_libav_stays_silent(tmp_path, capfd):
    path = write_video(tmp_path / "a.mp4", SCENE, "libx264", "yuv420p", movflags="faststart")
    capfd.readouterr()
    read_video(cut(path, 0.6))
    assert capfd.readouterr() == ("", "")


def raw_avi(path, fourcc: bytes, counts) -> Path:
    """An AVI of uncompressed 16-bit pixels as UVC recorders write it."""
    write_video(path, counts, "rawvideo", "gray16le", "gray16le")
    data = path.read_bytes()
    at = data.index(b"strf") + 24
    path.write_bytes(data[:at] + fourcc + data[at + 4 :])
    return path


def test_uncompressed_16_bit_pixels_are_counts(tmp_path):
    counts = moving_scene(20).astype(np.uint16) * 11 + 7000
    video = read_video(raw_avi(tmp_path / "a.avi", bytes(4), counts))
    assert (video.frames == to_8bit(counts)).all()
    assert video.notes == ("uncompressed pixels of 16 bits are read as counts, not as 15-bit colour",)


def test_what_cannot_be_decoded_is_named(tmp_path):
    path = raw_avi(tmp_path / "y16.avi", b"Y16 ", moving_scene(20).astype(np.uint16))
    with pytest.raises(VideoError, match=r"streams: video 'Y16 '\); convert it to 16-bit TIFF or lossless FFV1"):
        read_video(path)


@pytest.mark.parametrize(("name", "content"), [("a.seq", b"\0" * 64), ("a.bin", b"FFF\0CAMCTRL"), ("a.csq", b"AFF\0")])
def test_flir_recordings_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=r"a FLIR radiometric recording, which is not read; export it .* as 16-bit"):
        read_video(tmp_path / name)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"a\.mp4: a pipe or device; expected a file"):
        read_video(tmp_path / "a.mp4")

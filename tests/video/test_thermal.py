import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from infdet_deploy.errors import InfdetError, VideoError
from infdet_deploy.video import ThermalArray, read_video, to_8bit
from tests.video.recordings import cut, moving_scene, write_video

LEPTON = Path(__file__).parents[3] / "shared" / "data" / "thermal" / "lepton_160x120_100frames.cptv"
needs_lepton = pytest.mark.skipif(not LEPTON.exists(), reason=f"the sample recording {LEPTON.name} is not here")


def counts(frame_count=20):
    return moving_scene(frame_count).astype(np.uint16) * 11 + 7000


def test_percentiles_become_black_and_white():
    clip = np.arange(1000, 2001, dtype=np.uint16).reshape(1, 1, -1)
    result = to_8bit(clip, low=10, high=90)[0, 0]
    assert result.dtype == np.uint8
    assert result[:101].tolist() == [0] * 101
    assert result[900:].tolist() == [255] * 101
    assert result[500] in (127, 128)
    assert (np.diff(result.astype(int)) >= 0).all()


def test_the_default_range_agrees_with_numpy_percentiles():
    clip = counts()
    bottom, top = np.percentile(clip, [0.5, 99.5])
    expected = np.clip((clip - bottom) * 255 / (top - bottom), 0, 255)
    assert np.abs(to_8bit(clip) - expected).max() <= 1


def test_one_range_serves_the_whole_clip():
    clip = np.full((2, 10, 10), 3000, np.uint16)
    clip[0, :, :5] = 1000
    clip[1, :, :5] = 5000
    result = to_8bit(clip)
    assert result[0, 0].tolist() == [0] * 5 + [128] * 5
    assert result[1, 0].tolist() == [255] * 5 + [128] * 5


def test_a_few_wild_pixels_do_not_take_the_range():
    clip = counts()
    clip[0, 0, :3] = 65535
    clip[0, 1, :3] = 0
    assert np.abs(to_8bit(clip)[1:].astype(int) - to_8bit(counts())[1:]).max() <= 1


def test_a_constant_picture_is_black():
    assert not to_8bit(np.full((3, 4, 5), 7777, np.uint16)).any()


def test_a_small_target_before_a_flat_background_stays_visible():
    clip = np.full((1, 100, 100), 3000, np.uint16)
    clip[0, 50, 50] = 3100
    assert to_8bit(clip)[0, 50, 49:52].tolist() == [0, 255, 0]


def test_wrong_depth_and_percentiles_are_refused():
    with pytest.raises(ValueError, match="expected uint16"):
        to_8bit(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ValueError, match="0 <= low < high <= 100"):
        to_8bit(counts(1), low=50, high=50)


@needs_lepton
def test_cptv_gives_frames_and_the_cameras_clock():
    video = read_video(LEPTON)
    assert video.name == "lepton_160x120_100frames"
    assert video.frames.shape == (100, 120, 160)
    assert video.fps == pytest.approx(99 / 10.999)
    assert video.timestamps_s[[0, 1, -1]].tolist() == pytest.approx([0, 0.111, 10.999])
    assert video.duration_s == pytest.approx(100 * 10.999 / 99)
    assert video.frames.min() == 0
    assert video.frames.max() == 255


@needs_lepton
def test_cptv_is_mapped_as_its_counts_are():
    cptv = pytest.importorskip("cptv")
    with LEPTON.open("rb") as file:
        pixels = np.stack([frame.pix for frame in cptv.CPTVReader(file)])
    assert (read_video(LEPTON).frames == to_8bit(pixels)).all()
    assert read_video(LEPTON, size=224, mode="crop", fps=9).frames.shape == (100, 224, 224)


@needs_lepton
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_cut_cptv_is_refused(tmp_path, share):
    damaged = tmp_path / "half.cptv"
    data = LEPTON.read_bytes()
    damaged.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoError, match=r"cut short or damaged: \d+ frames decode"):
        read_video(damaged)


def write_cptv(path, frames, fps=None, background=False):
    cptv = pytest.importorskip("cptv")
    from datetime import UTC, datetime, timedelta

    with path.open("wb") as file:
        writer = cptv.CPTVWriter(file)
        writer.timestamp = datetime(2024, 1, 1, tzinfo=UTC)
        writer.device_name = b"test"
        writer.fps = fps
        writer.write_header()
        for index, pixels in enumerate(frames):
            at = timedelta(milliseconds=1000 + 125 * index)
            frame = cptv.Frame(pixels, at, timedelta(0), 20.0, 20.0)
            frame.background_frame = background and index == 0
            writer.write_frame(frame)
        writer.close()
    return path


def test_cptv_background_frame_is_left_out(tmp_path):
    frames = np.tile(counts(6)[:, :60, :80], (1, 2, 2))
    video = read_video(write_cptv(tmp_path / "a.cptv", frames, fps=8, background=True))
    assert video.fps == 8
    assert (video.frames == to_8bit(frames[1:])).all()


def test_other_content_under_the_name_cptv_is_refused(tmp_path):
    path = tmp_path / "a.cptv"
    path.write_bytes(b"no recording")
    with pytest.raises(VideoError, match="not a readable CPTV recording"):
        read_video(path)


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"imagej": True}, {"byteorder": ">"}],
    ids=["plain", "zlib", "imagej", "big"],
)
def test_tiff_stacks(tmp_path, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, counts(), **options)
    video = read_video(path)
    assert (video.frames == to_8bit(counts())).all()
    assert video.fps == 25
    for share in (0.05, 0.6, 0.97):
        with pytest.raises(VideoError, match="not a whole, readable TIFF"):
            read_video(cut(path, share))


def test_tiff_written_page_by_page_and_8_bit(tmp_path):
    path = tmp_path / "a.tiff"
    with tifffile.TiffWriter(path) as writer:
        for frame in moving_scene(5):
            writer.write(frame, contiguous=False)
    video = read_video(path, fps=9)
    assert (video.frames == moving_scene(5)).all()
    assert video.timestamps_s.tolist() == pytest.approx([0, 1 / 9, 2 / 9, 3 / 9, 4 / 9])
    with pytest.raises(VideoError, match="not a whole, readable TIFF"):
        read_video(cut(path, 0.6))


@pytest.mark.parametrize(("name", "package"), [("a.cptv", "cptv"), ("a.tif", "tifffile")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    path = tmp_path / name
    path.write_bytes(b"something")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InfdetError, match=rf"needs the package {package}: pip install 'infdet-deploy\[thermal\]'"):
        read_video(path)


def test_black_hot_recordings_are_inverted(tmp_path):
    path = write_video(tmp_path / "a.mkv", 255 - moving_scene(20), "ffv1", "gray")
    assert (read_video(path, invert=True).frames == moving_scene(20)).all()
    dark = ThermalArray(65535 - counts(), fps=9)
    assert (read_video(dark, invert=True).frames == to_8bit(counts())).all()


@needs_lepton
def test_a_damaged_time_stamp_prints_nothing(tmp_path, capfd):
    """The package's own remark would break the output of `detect --json`."""
    content = gzip.decompress(LEPTON.read_bytes())
    at = content.index(b"\x08T") + 2
    (tmp_path / "a.cptv").write_bytes(gzip.compress(content[:at] + b"\xff" * 8 + content[at + 8 :]))
    assert (read_video(tmp_path / "a.cptv").frames == read_video(LEPTON).frames).all()
    assert capfd.readouterr().out == ""

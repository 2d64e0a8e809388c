import cv2
import numpy as np
import pytest
import tifffile

from infdet_deploy.errors import VideoError
from infdet_deploy.video import read_video, to_8bit
from tests.video.recordings import moving_scene

SCENE = moving_scene(12)


def fill(folder, suffix, frames=SCENE):
    folder.mkdir(exist_ok=True)
    for index, frame in enumerate(frames):
        assert cv2.imwrite(str(folder / f"img_{index}{suffix}"), frame)
    return folder


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".pgm", ".tif"])
def test_lossless_pictures_in_the_order_of_their_numbers(tmp_path, suffix):
    video = read_video(fill(tmp_path / "clip.1", suffix), fps=9)
    assert video.name == "clip.1"
    assert (video.frames == SCENE).all()  # img_2 before img_10
    assert video.fps == 9
    assert video.timestamps_s.tolist() == pytest.approx([t / 9 for t in range(12)])


def test_jpeg_agrees_with_opencv(tmp_path):
    folder = fill(tmp_path / "clip", ".jpg")
    expected = np.stack([cv2.imread(str(folder / f"img_{t}.jpg"), cv2.IMREAD_GRAYSCALE) for t in range(12)])
    video = read_video(folder)
    assert np.abs(video.frames.astype(int) - expected).max() <= 1
    assert video.fps == 25


def test_colour_is_weighted_as_opencv_does(tmp_path):
    colour = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    video = read_video(fill(tmp_path / "clip", ".png", [colour]))
    assert np.abs(video.frames[0].astype(int) - cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif"])
def test_16_bit_pictures_take_one_range(tmp_path, suffix):
    counts = SCENE.astype(np.uint16) * 11 + np.arange(12, dtype=np.uint16)[:, None, None] * 100 + 7000
    assert (read_video(fill(tmp_path / "clip", suffix, counts)).frames == to_8bit(counts)).all()


def test_percent_signs_and_other_files_do_no_harm(tmp_path):
    folder = tmp_path / "100%d"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "x.png"), SCENE[index])
        (tmp_path / "x.png").rename(folder / f"f%03d_{index}.PNG")
    (folder / "._f%03d_0.png").write_bytes(b"junk")
    (folder / "notes.txt").write_text("junk")
    (folder / "sub.png").mkdir()
    assert (read_video(folder).frames == SCENE[:3]).all()


def test_mixed_sizes_and_depths_name_the_file(tmp_path):
    folder = fill(tmp_path / "clip", ".png")
    cv2.imwrite(str(folder / "img_5.png"), SCENE[5][:50])
    with pytest.raises(VideoError, match=r"img_5.png: 128x50 8-bit, but img_0.png is 128x96 8-bit"):
        read_video(folder, size=224)
    cv2.imwrite(str(folder / "img_5.png"), SCENE[5].astype(np.uint16))
    with pytest.raises(VideoError, match=r"img_5.png: 128x96 16-bit"):
        read_video(folder)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".pgm", ".tif"])
def test_a_corrupt_picture_is_named(tmp_path, suffix):
    folder = fill(tmp_path / "clip", suffix)
    damaged = folder / f"img_7{suffix}"
    data = damaged.read_bytes()
    for content in (data[: int(len(data) * 0.6)], b"junk", b""):
        damaged.write_bytes(content)
        with pytest.raises(VideoError, match=rf"img_7{suffix}: not a readable image"):
            read_video(folder)


def test_a_cut_tiff_picture_with_its_directory_in_front_is_named(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    tifffile.imwrite(folder / "0.tif", SCENE[0])
    data = (folder / "0.tif").read_bytes()
    (folder / "0.tif").write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(VideoError, match=r"0.tif: not a readable image"):
        read_video(folder)


def test_an_empty_folder_is_refused(tmp_path):
    said = r"no images in this folder; expected files of these types: .jpg.*for videos, name the files"
    with pytest.raises(VideoError, match=said):
        read_video(tmp_path)

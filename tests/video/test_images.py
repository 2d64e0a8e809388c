import cv2
import numpy as np
import pytest
import tifffile

from infdet_deploy.errors import VideoError
from infdet_deploy.video import read_video, to_8bit
from infdet_deploy.video.images import picture_files, read_picture
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


COUNTS = SCENE.astype(np.uint16) * 11 + 7000


def write_tiffs(path, frames, **options):
    """The frames as a folder of pictures, and as a stack."""
    (path / "folder").mkdir()
    for index, frame in enumerate(frames):
        tifffile.imwrite(path / "folder" / f"{index}.tif", frame, **options)
    stack = path / "stack.tif"
    with tifffile.TiffWriter(
        stack, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", None)
    ) as file:
        for frame in frames:
            file.write(frame, contiguous=False, **options)
    return path / "folder", stack


@pytest.mark.parametrize(
    ("frames", "options", "expected"),
    [
        (COUNTS, {"tile": (16, 16)}, to_8bit(COUNTS)),
        (COUNTS, {"bigtiff": True}, to_8bit(COUNTS)),
        (COUNTS, {"byteorder": ">"}, to_8bit(COUNTS)),
        (COUNTS, {"compression": "zlib"}, to_8bit(COUNTS)),
        (COUNTS.astype(np.int16) - 8000, {}, to_8bit(COUNTS)),
        (SCENE, {"photometric": "miniswhite"}, 255 - SCENE),
        (COUNTS, {"photometric": "miniswhite"}, to_8bit(65535 - COUNTS)),
        ((COUNTS / 100 - 273.15).astype(np.float32), {}, to_8bit(COUNTS)),
        ((COUNTS / 100).astype(np.float32) + 100, {}, to_8bit(COUNTS)),
        (np.repeat(COUNTS[..., None], 3, -1), {"photometric": "rgb"}, to_8bit(COUNTS)),
        (np.repeat(SCENE[:, None], 3, 1), {"photometric": "rgb", "planarconfig": "separate"}, SCENE),
    ],
    ids=["tiled", "big", "order", "deflate", "signed", "white", "white16", "celsius", "kelvin", "rgb48", "planar"],
)
def test_tiff_pictures_and_stacks_are_read_alike(tmp_path, frames, options, expected):
    for path in write_tiffs(tmp_path, frames, **options):
        assert np.abs(read_video(path).frames.astype(int) - expected).max() <= 1  # temperatures are rounded to 0.01 K


@pytest.mark.parametrize("frames", [COUNTS.astype(np.uint32), np.stack([COUNTS, COUNTS // 2, COUNTS], -1)])
def test_tiffs_of_other_pixels_are_named(tmp_path, frames):
    for path in write_tiffs(tmp_path, frames):
        with pytest.raises(VideoError, match=r"\.tif: a TIFF of uint(32|16).*; expected"):
            read_video(path)


def test_16_bit_colour_with_equal_channels_keeps_its_counts(tmp_path):
    folder = fill(tmp_path / "clip", ".png", np.repeat(COUNTS[..., None], 3, -1))
    assert (read_video(folder).frames == to_8bit(COUNTS)).all()


def test_a_pgm_of_12_bits_keeps_its_counts(tmp_path):
    (tmp_path / "clip").mkdir()
    for index, frame in enumerate(COUNTS // 8):
        data = b"P5\n# camera\n128 96\n4095\n" + frame.astype(">u2").tobytes()
        (tmp_path / "clip" / f"{index}.pgm").write_bytes(data)
    assert (read_picture(tmp_path / "clip" / "3.pgm") == COUNTS[3] // 8).all()
    assert (read_video(tmp_path / "clip").frames == to_8bit(COUNTS // 8)).all()
    (tmp_path / "clip" / "3.pgm").write_bytes(data[:-5])
    with pytest.raises(VideoError, match=r"3\.pgm: not a readable image .*cut short"):
        read_video(tmp_path / "clip")


def test_names_that_are_times(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    texts = ["1", "1.066667", "1.133333", "1.2", "1.25", "1.5"]
    times_s = [float(text) for text in texts]
    for index, text in enumerate(texts):
        assert cv2.imwrite(str(folder / f"clip.mp4#t={text}.png"), SCENE[index])
    assert [file.name[11:-4] for file in picture_files(folder)] == texts
    video = read_video(folder)
    assert (video.frames == SCENE[:6]).all()
    assert video.timestamps_s == pytest.approx(np.array(times_s) - 1)


IMAGEJ = {"imagej": True, "metadata": {"axes": "TYX", "finterval": 1 / 9}}
OME = {"ome": True, "metadata": {"axes": "TYX", "TimeIncrement": 1000 / 9, "TimeIncrementUnit": "ms"}}


@pytest.mark.parametrize("options", [IMAGEJ, OME], ids=["imagej", "ome"])
def test_a_stack_may_state_its_rate(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, **options)
    assert read_video(tmp_path / "a.tif").fps == pytest.approx(9)

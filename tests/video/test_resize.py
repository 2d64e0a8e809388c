import cv2
import numpy as np
import pytest

from infdet_deploy.errors import UsageError
from infdet_deploy.video import resize


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)


def difference(first, second):
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(256, 293, 224), (512, 640, 224), (480, 640, 224), (225, 226, 224), (720, 1280, 224), (448, 448, 224), (50, 9, 7)],
)
def test_shrinking_agrees_with_opencv_area(height, width, size):
    image = noise(height, width)
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    assert difference(resize(image, size), expected) <= 1


@pytest.mark.parametrize(
    ("height", "width", "size"), [(120, 160, 224), (60, 80, 224), (223, 1, 224), (7, 5, 64), (112, 112, 224)]
)
def test_enlarging_agrees_with_opencv_linear(height, width, size):
    image = noise(height, width)
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    assert difference(resize(image, size), expected) <= 1


def test_axes_are_treated_one_by_one():
    image = np.array([[0, 100, 200, 40], [8, 8, 8, 8]], np.uint8).repeat(1, axis=0)
    # Columns 4 → 3 by areas (4/3 of a pixel each), rows 2 → 3 linearly (the middle one lies half-way).
    top = np.array([25.0, 150.0, 80.0])
    expected = np.stack([top, (top + 8) / 2, np.full(3, 8.0)])
    assert resize(image, 3).tolist() == np.floor(expected + 0.5).astype(int).tolist()


def test_half_a_level_goes_up():
    assert resize(np.array([[0, 1], [0, 1]], np.uint8), 1).tolist() == [[1]]


def test_the_fitting_size_is_an_exact_copy():
    image = noise(224, 224)
    result = resize(image, 224)
    assert (result == image).all()
    assert not np.shares_memory(result, image)


def test_a_clip_is_its_frames_resized():
    clip = np.stack([noise(60, 80), noise(60, 80)[::-1]])
    result = resize(clip, 32)
    assert result.shape == (2, 32, 32)
    assert result.dtype == np.uint8
    assert (result[1] == resize(clip[1], 32)).all()


def test_16_bit_counts_keep_their_depth():
    counts = (noise(60, 80).astype(np.uint16) << 8) + 255
    expected = cv2.resize(counts, (32, 32), interpolation=cv2.INTER_AREA)
    assert resize(counts, 32).dtype == np.uint16
    assert difference(resize(counts, 32), expected) <= 1


def test_extremes_survive():
    for value in (0, 255):
        assert (resize(np.full((293, 256), value, np.uint8), 224) == value).all()
    assert (resize(np.full((50, 50), 65535, np.uint16), 224) == 65535).all()


@pytest.mark.parametrize(("height", "width"), [(256, 293), (226, 226), (227, 400)])
def test_crop_of_a_large_frame_cuts_only(height, width):
    image = noise(height, width)
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    assert (resize(image, 224, "crop") == image[top : top + 224, left : left + 224]).all()


@pytest.mark.parametrize(
    ("height", "width"), [(120, 160), (160, 120), (225, 300), (224, 224), (57, 131), (113, 113), (200, 333)]
)
def test_crop_of_a_small_frame_enlarges_first_as_opencv_does(height, width):
    image = noise(height, width)
    factor = 226 / min(height, width)
    large = cv2.resize(image, (0, 0), fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    assert min(large.shape) == 226
    top, left = (round((length - 224) / 2) for length in large.shape)
    assert difference(resize(image, 224, "crop"), large[top : top + 224, left : left + 224]) <= 1


@pytest.mark.parametrize(
    "frames",
    [np.zeros((4, 4), np.float32), np.zeros(4, np.uint8), np.zeros((4, 0), np.uint8), np.zeros((1, 2, 3, 4), np.uint8)],
)
def test_other_arrays_are_refused(frames):
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        resize(frames, 2)


def test_unknown_mode_and_size_are_refused():
    with pytest.raises(UsageError, match=r"unknown resize mode 'stretch'; expected one of: resize, crop"):
        resize(noise(4, 4), 2, "stretch")
    with pytest.raises(UsageError, match="frame size is 0"):
        resize(noise(4, 4), 0)

"""TV-L1 flow: known motion comes back, in the promised scale and layout."""

import cv2
import numpy as np
import pytest

from infdet_deploy.errors import UsageError
from infdet_deploy.training.tvl1 import limit_px, tvl1_flow


def _moving(shifts_px: list[tuple[float, float]], size: int = 64) -> np.ndarray:
    """Frames uint8 [T, size, size] of a smooth texture, frame t moved by the (right, down) of entry t."""
    noise = np.random.default_rng(0).normal(size=(3 * size, 3 * size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    texture = np.clip(128 + smooth * 50 / smooth.std(), 0, 255)
    frames = []
    for right, down in shifts_px:
        matrix = np.array([[1, 0, right - size], [0, 1, down - size]], np.float32)
        frames.append(cv2.warpAffine(texture, matrix, (size, size), flags=cv2.INTER_CUBIC))
    return np.stack(frames).round().astype(np.uint8)


@pytest.mark.parametrize("moved_px", [(2.0, 0.0), (-1.5, 1.0), (0.0, -3.0), (4.0, 2.0)])
def test_known_motion(moved_px):
    flow = tvl1_flow(_moving([(0, 0), moved_px]), 3)
    assert flow.shape == (1, 3, 16, 16)
    assert flow.dtype == np.float16
    inner = flow[0, :, 3:-3, 3:-3].astype(np.float64)  # what leaves or enters the picture has no right answer
    for channel, expected_px in zip(inner, (*moved_px, np.hypot(*moved_px)), strict=True):
        assert np.abs(channel * limit_px(64) - expected_px).mean() < 0.3


def test_the_limit_is_the_published_one_and_a_share_of_the_picture():
    assert limit_px(224) == pytest.approx(20)
    assert limit_px(64) == pytest.approx(20 * 64 / 224)
    far = tvl1_flow(_moving([(0, 0), (2.0, 0.0)], 64))[0, 0, 3:-3, 3:-3].mean()
    assert far == pytest.approx(2.0 / limit_px(64), abs=0.05)


def test_still_picture():
    flow = tvl1_flow(_moving([(0, 0)] * 3), 3)
    assert np.abs(flow).max() < 0.01  # in every channel zero means no motion


def test_two_channels_are_the_first_of_three():
    frames = _moving([(0, 0), (1, 0), (2.5, 1)])
    np.testing.assert_array_equal(tvl1_flow(frames, 2), tvl1_flow(frames, 3)[:, :2])


def test_values_stay_in_range():
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    assert np.abs(tvl1_flow(frames, 3)).max() <= 1


@pytest.mark.parametrize(
    ("frames", "channels", "message"),
    [
        (np.zeros((2, 64, 64), np.uint8), 4, "flow channels is 4, expected 2 or 3"),
        (np.zeros((1, 64, 64), np.uint8), 3, r"uint8 \[1, 64, 64\], expected uint8 \[T >= 2"),
        (np.zeros((2, 64, 64), np.float32), 3, "frames are float32"),
    ],
)
def test_refused(frames, channels, message):
    with pytest.raises(UsageError, match=message):
        tvl1_flow(frames, channels)

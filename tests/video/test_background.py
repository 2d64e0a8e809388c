import numpy as np
import pytest

from infdet_deploy.video.background import BACKGROUND_LEVEL, BackgroundLevels, lower_quantile


def run(frames, times_s, causal):
    levels = BackgroundLevels(causal)
    found = [one for frame, time_s in zip(frames, times_s, strict=True) for one in levels.push(frame, time_s)]
    return [*found, *levels.finish()]


def test_one_kelvin_is_50_levels_whatever_the_background():
    frames = np.full((40, 8, 8), 29500, np.uint16)
    frames += (np.arange(64, dtype=np.uint16) * 10).reshape(8, 8)  # a background that varies by 6 K
    frames[25:, 2, 3] += 100  # 1 K
    frames[32:, 5, 5] -= 40
    frames[30:, 7, 7] += 1000  # more than fits
    found = np.stack([frame for frame, _ in run(frames, np.arange(40.0), causal=False)])
    assert found.dtype == np.uint8
    assert (found[:25] == BACKGROUND_LEVEL).all()
    assert (found[25:, 2, 3] == BACKGROUND_LEVEL + 50).all()
    assert (found[32:, 5, 5] == BACKGROUND_LEVEL - 20).all()
    assert (found[30:, 7, 7] == 255).all()


def test_drift_of_the_whole_frame_is_subtracted():
    frames = np.full((200, 6, 6), 30000, np.uint16) + np.arange(200, dtype=np.uint16)[:, None, None]
    frames[150:, 0, 0] += 60
    found = np.stack([frame for frame, _ in run(frames, np.arange(200.0), causal=True)])
    assert (found[150:, 0, 0] == BACKGROUND_LEVEL + 30).all()
    assert (found[:, 3, 3] == BACKGROUND_LEVEL).all()


def test_eight_bits_are_levels_already():
    frames = np.full((10, 4, 4), 100, np.uint8)
    frames[8:, 1, 1] = 90
    found = run(frames, np.arange(10.0), causal=False)
    assert found[8][0][1, 1] == BACKGROUND_LEVEL - 10


def test_both_forms_agree_after_two_minutes():
    rng = np.random.default_rng(0)
    frames = rng.integers(29000, 29200, (400, 4, 4)).astype(np.uint16)
    times_s = np.arange(400) * 0.5
    offline, causal = run(frames, times_s, causal=False), run(frames, times_s, causal=True)
    assert [time_s for _, time_s in offline] == [time_s for _, time_s in causal] == times_s.tolist()
    same = [np.array_equal(a, b) for (a, _), (b, _) in zip(offline, causal, strict=True)]
    assert all(same[239:])
    assert not all(same[:200])


def test_the_background_follows_the_lower_quartile_of_one_frame_a_second():
    frames = np.zeros((121, 2, 2), np.uint8)
    frames[:, 0, 0] = np.arange(121)
    levels = BackgroundLevels(causal=True)
    shown = [levels.push(frame, float(second))[0][0][0, 0] for second, frame in enumerate(frames)]
    assert shown[0] == BACKGROUND_LEVEL
    assert shown[4] == BACKGROUND_LEVEL + 3  # 4 over the quartile of 0, 1, 2, 3, 4
    assert shown[120] == BACKGROUND_LEVEL + 90  # 120 over the lower quartile of 1 … 120


def test_frames_between_two_seconds_do_not_count():
    levels = BackgroundLevels(causal=True)
    levels.push(np.zeros((2, 2), np.uint8), 5.0)
    shown = [levels.push(np.array([[200, 0], [0, 0]], np.uint8), 5.0 + k / 10)[0][0][0, 0] for k in range(1, 10)]
    assert set(shown) == {BACKGROUND_LEVEL + 191}  # 264 clipped to 255


def test_a_person_who_lies_for_a_minute_stays_visible():
    frames = np.full((90, 6, 6), 100, np.uint8)
    frames[20:80, 1:3, 1:3] = 140
    found = np.stack([frame for frame, _ in run(frames, np.arange(90.0), causal=False)])
    assert (found[20:80, 1:3, 1:3] == BACKGROUND_LEVEL + 40).all()
    assert (found[80:] == BACKGROUND_LEVEL).all()  # and leaves no cold spot


@pytest.mark.parametrize(
    ("values", "parts", "expected"),
    [
        ([3], 2, 3),
        ([4, 1], 2, 1),
        ([5, 1, 3], 2, 3),
        ([9, 1, 7, 3], 2, 3),
        ([9, 1, 7, 3, 5], 4, 3),
        ([8, 2, 6], 4, 2),
    ],
)
def test_lower_quantile(values, parts, expected):
    assert lower_quantile(np.array(values), parts) == expected

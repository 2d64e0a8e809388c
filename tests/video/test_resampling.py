import numpy as np
import pytest

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.video import ThermalArray, read_video
from infdet_deploy.video.resampling import Resampler


def run(levels, times_s, rate):
    resampler = Resampler(rate)
    found = []
    for level, time_s in zip(levels, times_s, strict=True):
        found += resampler.push(np.full((2, 2), level, np.uint8), time_s)
    return [int(frame[0, 0]) for frame, _ in found], [time_s for _, time_s in found]


def test_twice_the_rate_interpolates_half_way():
    levels, times_s = run([0, 100, 50], [10.0, 10.2, 10.4], 10)
    assert levels == [0, 50, 100, 75, 50]
    assert times_s == pytest.approx([10.0, 10.1, 10.2, 10.3, 10.4])


def test_the_same_rate_changes_nothing():
    levels = list(range(0, 250, 3))
    found, times_s = run(levels, np.arange(len(levels)) / 12, 12)
    assert found == levels
    assert times_s == pytest.approx(np.arange(len(levels)) / 12)


def test_uneven_times_become_even():
    times_s = [0.0, 0.1, 0.5, 0.55, 1.0]
    levels, shown = run([0, 10, 50, 55, 100], times_s, 20)
    assert levels == [5 * k for k in range(21)]  # a straight line
    assert np.diff(shown) == pytest.approx(np.full(20, 0.05))


def test_a_half_is_rounded_up_and_repeated_times_are_left_out():
    assert run([0, 1], [0.0, 1.0], 2)[0] == [0, 1, 1]
    assert run([0, 200, 8], [0.0, 0.0, 1.0], 1)[0] == [0, 8]


def test_read_video_at_another_rate():
    frames = np.full((30, 8, 8), 20.0)
    frames[10:20, 2:4, 2:4] = 21.0
    recording = ThermalArray(frames, np.arange(30) / 10)
    video = read_video(recording, levels="background", frame_rate=20)
    assert (video.frames.shape, video.fps) == ((59, 8, 8), 20)
    assert video.timestamps_s == pytest.approx(np.arange(59) / 20)
    assert video.frames[18:22, 2, 2].tolist() == [64, 89, 114, 114]
    half = read_video(recording, levels="background", frame_rate=5)
    assert half.frames[:, 2, 2].tolist() == [64] * 5 + [114] * 5 + [64] * 5


def test_wrong_rates_and_short_results_are_refused():
    recording = ThermalArray(np.full((30, 8, 8), 20.0), np.arange(30) / 10)
    with pytest.raises(UsageError, match="fps is 0"):
        read_video(recording, frame_rate=0)
    with pytest.raises(VideoError, match="clip has 15 frames; at least 16"):
        read_video(recording, frame_rate=5, min_frames=16)

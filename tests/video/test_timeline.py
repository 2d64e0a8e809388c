"""The rules of time, without any video."""

import numpy as np
import pytest

from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.timeline import FrameClock, Part, resolve

NAN = float("nan")


def spaced(count, rate, start_s=0.0):
    return start_s + np.arange(count) / rate


def test_a_declared_rate_that_the_stamps_confirm():
    line = resolve(spaced(100, 25.2), 25.0)
    assert (line.fps, line.notes) == (25.0, ())
    assert np.array_equal(line.times_s, spaced(100, 25.2))
    assert set(line.part) == {0}


@pytest.mark.parametrize("declared", [None, 1000.0, 90000.0, 0.009, 30.0])
def test_the_stamps_overrule_a_missing_or_wrong_rate(declared):
    line = resolve(spaced(100, 15), declared)
    assert line.fps == pytest.approx(15, abs=1e-6)
    assert line.notes == ()


@pytest.mark.parametrize("rate", [600.0, 1000.0, 0.05])
def test_rates_that_cannot_be_are_not_believed(rate):
    line = resolve(spaced(100, rate), rate)
    assert line.fps == 25
    assert np.array_equal(line.times_s, np.arange(100) / 25)
    assert line.notes == (
        f"{rate:g} frames/s cannot be right: 25 frames/s is assumed; give the right one with --fps",
    )  # fmt: skip


def test_without_stamps_and_rate_25_is_assumed():
    line = resolve(np.full(3, NAN))
    assert (line.fps, line.times_s.tolist()) == (25, [0, 0.04, 0.08])
    assert line.notes == ("no frame rate is known: 25 frames/s is assumed; give the right one with --fps",)
    assert resolve(np.full(3, NAN), 10.0).notes == ()


def test_the_callers_rate_replaces_rate_and_stamps():
    line = resolve(np.array([0.0, 60.0, 60.0]), 25.0, fps=2)
    assert (line.fps, line.times_s.tolist(), line.part.tolist(), line.notes) == (2, [0, 0.5, 1], [0, 0, 0], ())


def test_one_equal_stamp_moves_no_other_frame():
    stated = np.round(spaced(100, 15), 3)
    stated[51] = stated[50]
    line = resolve(stated, 1000.0)
    assert line.fps == pytest.approx(15, abs=1e-3)
    kept = np.arange(100) != 51
    assert np.array_equal(line.times_s[kept], stated[kept])
    assert line.times_s[51] == pytest.approx((stated[50] + stated[52]) / 2)
    assert line.notes == ("1 of 100 time stamps are missing or not later than the one before",)
    assert Part(line.fps, line.times_s).end_s == pytest.approx(100 / 15, abs=1e-3)


def test_missing_and_early_stamps_are_filled():
    stated = spaced(10, 10)
    stated[[0, 4, 5, 9]] = NAN
    stated[7] = 0.45
    assert resolve(stated, 10.0).times_s.tolist() == pytest.approx(spaced(10, 10).tolist())


def test_a_pause_begins_a_part():
    stated = np.concatenate((spaced(50, 25), spaced(50, 25, 62.0)))
    line = resolve(stated, 1.5625)
    assert line.fps == pytest.approx(25)
    assert np.array_equal(line.times_s, stated)
    assert line.part.tolist() == [0] * 50 + [1] * 50


@pytest.mark.parametrize(("rate", "gap_s", "parts"), [(25, 1.0, 1), (25, 1.1, 2), (2, 1.5, 1), (2, 1.6, 2)])
def test_the_limit_of_a_pause(rate, gap_s, parts):
    stated = spaced(40, rate)
    stated[20:] += gap_s - 1 / rate
    assert len(set(resolve(stated, float(rate)).part)) == parts


def test_a_clock_that_is_set_back_goes_on():
    line = resolve(np.concatenate((spaced(50, 25, 7200), spaced(50, 25, 3600), spaced(50, 25, 0))), 25.0)
    assert line.times_s.tolist() == pytest.approx(spaced(150, 25, 7200).tolist())
    assert np.bincount(line.part).tolist() == [50, 50, 50]
    assert line.notes[0].startswith("the clock goes back 2 times")


def test_dropped_frames_do_not_change_the_rate():
    kept = np.random.default_rng(0).random(1000) > 0.04
    line = resolve(spaced(1000, 25)[kept])
    assert line.fps == pytest.approx(25)
    assert len(set(line.part)) == 1


def test_a_part_maps_times_both_ways():
    even = Part(25.0, spaced(100, 25, 2.0))
    assert even.even
    assert (even.shown_s(1.0), even.local_s(3.0), even.end_s) == (3.0, 1.0, 6.0)
    times_s = np.concatenate((spaced(50, 25), spaced(50, 12.5, 2.0)))
    uneven = Part(25.0, times_s)
    assert not uneven.even
    assert [uneven.shown_s(n / 25) for n in (0, 25, 50, 75, 99)] == pytest.approx([0, 1, 2, 4, 5.92])
    assert uneven.end_s == pytest.approx(5.96)
    for local_s in (-1.0, 0.0, 1.23, 3.3, 7.0):
        assert uneven.local_s(uneven.shown_s(local_s)) == pytest.approx(local_s)


def test_frames_that_do_not_decode_leave_their_time_free():
    stated = np.concatenate((spaced(50, 25), [NAN], spaced(49, 25, 2.04)))
    clock = FrameClock(resolve(stated, 25.0), stated)
    assert clock.at(stated[0]) == (0.0, 0)
    assert clock.at(stated[10]) == (stated[10], 0)
    assert clock.at(NAN) == (stated[11], 0)
    assert clock.at(stated[-1]) == (stated[-1], 1)  # more than 1 s is lost
    assert clock.at(NAN) == (pytest.approx(stated[-1] + 0.04), 1)


@pytest.mark.parametrize(
    ("times_s", "rate"),
    [
        (spaced(100, 25), None), (spaced(100, 27), None), (spaced(100, 30), 25.0), (spaced(100, 9), 25.0),
        (np.concatenate((spaced(50, 25), spaced(50, 12.5, 2.0))), 25.0),
        (np.concatenate((spaced(50, 25), spaced(50, 25, 60.0))), None),
    ],
)  # fmt: skip
def test_which_recordings_are_interpolated_to_the_networks_rate(times_s, rate):
    assert Preparation(trained_fps=25.0).resampled(resolve(times_s)) == rate
    assert Preparation().resampled(resolve(times_s)) is None
    assert Preparation(frame_rate=12.0, trained_fps=25.0).resampled(resolve(times_s)) == 12

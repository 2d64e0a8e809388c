import numpy as np
import pytest

from infdet_deploy.video import to_8bit
from infdet_deploy.video.causal_range import CausalRange
from tests.video.recordings import moving_scene
from tests.video.test_thermal import LEPTON, counts, needs_lepton


def run(frames, times_s, **options):
    """uint16 [T,H,W] → grey uint8 [T,H,W] and the range's ends [T,2]."""
    causal = CausalRange(**options)
    levels, ends = [], []
    for frame, time_s in zip(frames, times_s, strict=True):
        causal.update(frame, time_s)
        levels.append(causal.apply(frame))
        ends.append(causal.ends)
    return np.stack(levels), np.array(ends)


def flicker(ends):
    """By how many grey levels either end of the mapping moves from frame to frame."""
    width = np.diff(ends[:-1], axis=1)
    return np.abs(np.diff(ends, axis=0)) / width * 255


def test_a_scene_that_stays_is_mapped_as_offline():
    frames = counts(50)
    levels, _ = run(frames, np.arange(50) / 25)
    assert np.abs(levels.astype(int) - to_8bit(frames)).max() <= 2


def test_the_future_changes_nothing():
    frames = counts(30)
    other = frames.copy()
    other[20:] += 4000
    times_s = np.arange(30) / 9
    assert (run(frames, times_s)[0][:20] == run(other, times_s)[0][:20]).all()


def test_something_hot_moves_the_range_by_no_more_than_its_rate():
    frames = counts(100)
    frames[50:, 20:60, 20:60] = 12000
    levels, ends = run(frames, np.arange(100) / 25, rate_per_s=0.05)
    moved = flicker(ends)
    assert moved.max() <= 255 * 0.05 / 25 + 1e-6
    assert ends[-1, 1] > ends[49, 1] * 1.01
    background = levels[:, 70:].astype(int)
    assert np.abs(background[50].mean() - background[49].mean()) < 1.5


def test_a_scene_left_is_forgotten():
    frames = np.concatenate([counts(50), counts(1).repeat(500, 0) - 300])
    _, ends = run(frames, np.arange(len(frames)) / 5, half_life_s=10, rate_per_s=0.1)
    last = np.percentile(frames[-1], [0.5, 99.5])
    assert ends[-1] == pytest.approx(last, abs=8)


def test_another_gain_starts_the_range_anew():
    frames = np.concatenate([counts(50), counts(100) * 3])
    _, ends = run(frames, np.arange(150) / 25, restart_s=2)
    assert ends[99, 1] < 9000  # 2 s after the change
    assert ends[102] == pytest.approx(np.percentile(frames[100:103], [0.5, 99.5]), rel=0.01)


def test_an_outage_moves_the_range_by_no_more_than_a_seconds_worth():
    frames = counts(20)
    frames[10:, 20:60, 20:60] = 12000
    _, ends = run(frames, np.arange(20) / 25 + 3600 * (np.arange(20) >= 10), rate_per_s=0.05)
    assert flicker(ends).max() <= 255 * 0.05 + 1e-6


def test_a_range_given_is_where_it_begins():
    frame = counts(1)[0]
    causal = CausalRange(ends=(7000.0, 9000.0))
    causal.update(frame, 0.0)
    assert causal.ends == (7000, 9000)
    assert causal.apply(np.array([6000, 8000, 9000], np.uint16)).tolist() == [0, 128, 255]


def test_a_constant_picture_is_black_until_it_shows_something():
    causal = CausalRange()
    causal.update(np.full((4, 5), 7777, np.uint16), 0.0)
    assert not causal.apply(np.full((4, 5), 7777, np.uint16)).any()
    scene = moving_scene(1)[0].astype(np.uint16) + 7700
    causal.update(scene, 0.1)
    assert causal.apply(scene).max() == 255


@needs_lepton
def test_difference_from_offline_on_a_real_recording():
    cptv = pytest.importorskip("cptv")
    with LEPTON.open("rb") as file:
        recorded = list(cptv.CPTVReader(file))
    pixels = np.stack([frame.pix for frame in recorded])
    times_s = np.array([frame.time_on.total_seconds() for frame in recorded])
    levels, ends = run(pixels, times_s)
    warm = times_s - times_s[0] >= 2
    difference = np.abs(levels.astype(int) - to_8bit(pixels))[warm]
    moved = flicker(ends)
    every_frame_by_itself = flicker(np.percentile(pixels.reshape(len(pixels), -1), [0.5, 99.5], axis=1).T)
    print(
        f"difference after 2 s: mean {difference.mean():.2f}, 95th percentile {np.percentile(difference, 95):.0f},"
        f" most {difference.max()}; the ends move {moved.mean():.2f} levels a frame, at most {moved.max():.2f};"
        f" of a range for each frame {every_frame_by_itself.mean():.2f}, {every_frame_by_itself.max():.2f}"
    )
    assert difference.mean() <= 3.5
    assert np.percentile(difference, 95) <= 7
    assert moved.mean() <= 0.3
    assert moved.max() <= 255 * 0.05 / 8

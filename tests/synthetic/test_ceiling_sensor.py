"""The sensor on the ceiling: projection, blur, delay and noise."""

import numpy as np
import pytest

from infdet_deploy.synthetic import ceiling_body as body
from infdet_deploy.synthetic import ceiling_sensor as sensor

CAMERA = sensor.Camera(2.2, 8.0)


def seen(joints, place=(0.0, 0.0)):
    return sensor.seen_warmth(CAMERA, 1.7 * joints[None] + [*place, 0.0], 1.7)[0]


def test_the_middle_of_the_floor_is_the_middle_of_the_picture():
    places, depths = CAMERA.project(np.array([[0.0, 0.0, 0.0], [1.1, 0.0, 0.0], [0.55, 0.0, 1.1]]))
    np.testing.assert_allclose(places, [[7.5, 7.5], [11.5, 7.5], [11.5, 7.5]])
    np.testing.assert_allclose(depths, [2.2, 2.2, 1.1])


def test_who_stands_is_larger_and_warmer_than_who_sits_and_who_lies_is_fainter_still():
    stands, sits, lies = seen(body.STAND), seen(body.SIT), seen(body.lying(0.0, 0.0, 1.0, -0.45))
    assert stands.sum() > sits.sum() > lies.sum()
    assert stands.max() > sits.max() > lies.max() > 0.3
    assert lies.min() >= 0
    assert stands.max() <= 1


def test_who_lies_is_long():
    lies = seen(body.lying(0.0, 0.0, 1.0, -0.45)) > 0.2
    assert lies.any(axis=0).sum() >= 2 * lies.any(axis=1).sum()


def test_nobody_is_seen_outside():
    assert seen(body.STAND, (4.0, 0.0)).max() < 1e-3


def test_a_step_is_seen_after_a_delay():
    frames = np.zeros((60, 1, 1), np.float32)
    frames[20:] = 1
    late = (1 - sensor.delayed(frames)[20:, 0, 0]).sum() / 9
    assert late == pytest.approx(0.53, abs=0.05)  # seconds


def test_noise_has_its_deviation_and_changes_slowly():
    noise = sensor.noise(np.random.default_rng(1), 400)
    assert noise.shape == (400, 16, 16)
    assert noise.std() == pytest.approx(sensor.NOISE_K, rel=1e-3)
    next_frame = (noise[1:] * noise[:-1]).mean() / noise.var()
    assert 0.9 < next_frame < 0.98


@pytest.mark.parametrize("seed", range(6))
def test_rooms_differ_and_drift_little(seed):
    room = sensor.room(np.random.default_rng(seed), np.arange(400) / 9)
    assert room.shape == (400, 16, 16)
    assert np.ptp(np.median(room, axis=(1, 2))) < 1.0
    assert 0.02 < room[0].std() < 2.0


def test_a_chair_stays_warm_and_cools():
    warmth = sensor.seat_warmth(np.array([5.0, 21.0, 81.0]), [(10.0, 20.0)])
    assert warmth[0] == 0
    assert 0.35 < warmth[1] < 0.45
    assert warmth[2] == pytest.approx(warmth[1] / np.e)

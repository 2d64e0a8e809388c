"""Postures rest on the floor, and a body keeps its length."""

import numpy as np
import pytest

from infdet_deploy.synthetic import ceiling_body as body

POSTURES = ("STAND", "SIT", "LEAN", "CROUCH", "BEND", "KNEEL", "WAVE")


@pytest.mark.parametrize("name", POSTURES)
def test_postures_rest_on_the_floor(name):
    joints = getattr(body, name)
    assert joints.shape == (len(body.JOINTS), 3)
    assert 0.03 <= joints[:, 2].min() <= 0.06
    assert joints[:, 2].max() <= 1.0


@pytest.mark.parametrize("towards", [0.0, 1.0, np.pi])
@pytest.mark.parametrize("prone", [0.0, 1.0])
def test_a_lying_body_is_long_and_low(towards, prone):
    joints = body.lying(towards, 0.0, prone, -0.4)
    length = np.linalg.norm(joints[0, :2] - joints[-2:, :2].mean(axis=0))
    assert length == pytest.approx(0.87, abs=0.02)
    assert joints[:, 2].min() > 0
    assert joints[:, 2].max() < 0.4
    head = joints[0, :2] / np.linalg.norm(joints[0, :2])
    np.testing.assert_allclose(head, [np.cos(towards), np.sin(towards)], atol=1e-9)


def test_turning_and_tipping_keep_lengths():
    turned = body.turned(body.STAND, 1.1)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(body.STAND, axis=1))
    tipped = body.tipped(body.STAND, 0.7, 0.5)
    np.testing.assert_allclose(np.linalg.norm(tipped, axis=1), np.linalg.norm(body.STAND, axis=1), atol=0.02)
    assert tipped[0, :2] @ [np.cos(0.7), np.sin(0.7)] == pytest.approx(0.93 * np.sin(0.5), abs=0.03)


def test_steps_swing_legs_against_each_other():
    still = np.repeat(body.STAND[None], 2, axis=0)
    moved = body.step(still, np.full(2, np.pi / 2), np.array([0.0, 1.0])) - still
    assert not moved[0].any()
    left, right = (body.JOINTS.index(f"ankle_{side}") for side in "lr")
    assert moved[1, left, 0] == pytest.approx(-moved[1, right, 0]) != 0

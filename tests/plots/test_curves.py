import numpy as np
import pytest

pytest.importorskip("matplotlib")

from infdet_deploy.plots.flow import draw_flow, flow_colours, liveliest_pairs


def test_flow_colours():
    """Right is red, down yellow-green, left cyan; half the length is half as saturated; no motion is white."""
    flow = np.array([[[0.0, 2.0, 1.0, 9.0, -2.0, 0.0]], [[0.0, 0.0, 0.0, 0.0, 0.0, 2.0]]])
    colours = flow_colours(flow, 2.0)
    assert colours.shape == (1, 6, 3)
    expected = [(1, 1, 1), (1, 0, 0), (1, 0.5, 0.5), (1, 0, 0), (0, 1, 1), (0.5, 1, 0)]
    np.testing.assert_allclose(colours[0], expected, atol=1e-12)


def test_liveliest_pairs_come_from_every_part():
    flow = np.zeros((8, 3, 2, 2), np.float16)
    flow[[1, 3, 4], 0] = 0.5
    flow[3, 1] = 0.5
    flow[7, 2] = 1.0  # the third channel is a length, not a motion
    assert liveliest_pairs(flow, 2) == [3, 4]
    assert liveliest_pairs(flow, 4) == [1, 3, 4, 6]
    assert liveliest_pairs(flow[:2], 4) == [0, 1]


def test_flow_picture_of_clips_that_stand_still(tmp_path):
    still = np.zeros((2, 3, 16, 16), np.float16)
    file = draw_flow(tmp_path / "a.png", "a", np.zeros((2, 64, 64), np.uint8), np.arange(2.0), still, still, 5.7)
    assert file.read_bytes().startswith(b"\x89PNG")

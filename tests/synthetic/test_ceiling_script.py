"""Scripts: labels in order, keyframes in time, people come in and leave."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from infdet_deploy.synthetic.ceiling_script import play


@pytest.fixture(scope="module")
def scripts():
    return [play(np.random.default_rng([4, n]), 45.0) for n in range(100)]


def test_keyframes_are_in_order_of_time(scripts):
    for script in scripts:
        assert (np.diff(script.times_s) > 0).all()
        assert len(script.times_s) == len(script.places) == len(script.postures)
        assert 45 <= script.times_s[-1] < 80


def test_labels_do_not_overlap_and_end_before_the_script(scripts):
    for script in scripts:
        assert all(a.end_s < b.start_s for a, b in pairwise(script.actions))
        assert all(action.end_s - action.start_s > 1 for action in script.actions)
        assert not script.actions or script.actions[-1].end_s < script.times_s[-1] - 1


def test_everyone_who_sits_down_stands_up(scripts):
    counts = Counter(action.label for script in scripts for action in script.actions)
    assert counts["sitdown"] == counts["standup"] > 50
    assert counts["fall"] > 50
    for script in scripts:
        labels = [action.label for action in script.actions if action.label != "fall"]
        assert labels == ["sitdown", "standup"] * (len(labels) // 2)


def test_the_room_is_empty_first(scripts):
    for script in scripts:
        outside = np.hypot(*np.array(script.places)[:2, :2].T)
        assert (outside > 2).all()
        assert script.times_s[1] > 2.5

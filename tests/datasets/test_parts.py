"""Annotations of recordings with pauses and uneven frames."""

import numpy as np

from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.datasets.parts import clips_of_parts
from infdet_deploy.video.timeline import Part

CLIP = Clip("a", 64.0, "training", (Instance("fall", 1.0, 1.8), Instance("walk", 1.5, 62.5), Instance("fall", 70, 71)))
BEFORE, AFTER = Part(25.0, np.arange(50) / 25), Part(25.0, 62 + np.arange(50) / 25)


def times(clip):
    return [(one.label, round(one.start_s, 6), round(one.end_s, 6)) for one in clip.instances]


def test_each_part_has_its_instances_in_its_own_seconds():
    first, second = clips_of_parts(CLIP, [BEFORE, AFTER])
    assert (first.name, second.name, first.subset, first.duration_s) == ("a part 1", "a part 2", "training", 2.0)
    assert times(first) == [("fall", 1.0, 1.8), ("walk", 1.5, 2.0)]
    assert times(second) == [("walk", 0.0, 0.5)]


def test_a_plain_recording_keeps_its_annotation():
    assert clips_of_parts(CLIP, [BEFORE]) == [CLIP]


def test_one_part_that_starts_late_or_is_uneven():
    (late,) = clips_of_parts(CLIP, [AFTER])
    assert (late.name, times(late)) == ("a", [("fall", -61.0, -60.2), ("walk", -60.5, 0.5), ("fall", 8.0, 9.0)])
    half = Part(25.0, np.concatenate((np.arange(25) / 25, 1 + np.arange(25) / 12.5)))
    (uneven,) = clips_of_parts(CLIP, [half])
    assert times(uneven)[0] == ("fall", 1.0, 1.4)


def test_ambiguous_intervals_move_with_the_instances():
    clip = Clip("a", 64.0, None, (), ambiguous=(Instance("Ambiguous", 62.5, 63.0),))
    first, second = clips_of_parts(clip, [BEFORE, AFTER])
    assert first.ambiguous == ()
    assert second.ambiguous == (Instance("Ambiguous", 0.5, 1.0),)

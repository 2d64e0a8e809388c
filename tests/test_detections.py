import json

import numpy as np
import pytest

from infdet_deploy.config import from_dict
from infdet_deploy.detections import Detection, DetectionRule, detect
from infdet_deploy.errors import ConfigError, InfdetError
from tests.paths import DATA

GOLDEN = json.loads((DATA / "golden_postprocess.json").read_text())


def one_class(scores, threshold=0.5, mean_s=0.0, split_long=False, sps=1.0):
    rule = DetectionRule((threshold,), (mean_s,), split_long)
    found = detect(np.array(scores, dtype=np.float64)[:, None], ["hug"], rule, sps)
    return [(d.start_s, d.end_s, d.score) for d in found]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_equals_the_original_post_processing(case):
    classes = GOLDEN["classes"]
    rule = DetectionRule(tuple(GOLDEN["thresholds"]), tuple(GOLDEN["mean_duration_s"]), split_long=True)
    found = detect(np.array(case["scores"]), classes, rule, case["snippets_per_second"])
    expected = case["detections"]
    assert [d.label for d in found] == [classes[row[0]] for row in expected]
    got = np.array([(d.start_s, d.end_s, d.score) for d in found])
    np.testing.assert_array_equal(got, np.array([row[1:] for row in expected]))


def test_a_run_is_half_open_and_scored_at_its_middle():
    assert one_class([0, 0.6, 0.7, 0.8, 0.9, 0], sps=2.0) == [(0.5, 2.5, 0.8)]


def test_runs_at_either_end_of_the_clip():
    assert one_class([0.9, 0.8, 0, 0.6, 0.7]) == [(0.0, 2.0, 0.8), (3.0, 5.0, 0.7)]
    assert one_class([0.6]) == [(0.0, 1.0, 0.6)]
    assert one_class([0.6, 0.7, 0.8]) == [(0.0, 3.0, 0.7)]


def test_a_score_equal_to_the_threshold_is_not_above_it():
    assert one_class([0.5, 0.5, 0.6, 0.5]) == [(2.0, 3.0, 0.6)]
    assert one_class([0.3, 0.30000000000000004], threshold=0.30000000000000004) == []
    assert one_class([0.3, 0.30000000000000004], threshold=0.3) == [(1.0, 2.0, 0.30000000000000004)]


def test_float32_scores_are_compared_in_double_precision():
    scores = np.full((2, 1), 0.3, dtype=np.float32)  # 0.30000001192…
    assert len(detect(scores, ["hug"], DetectionRule((0.3,), (0.0,)), 1.0)) == 1


def test_half_the_mean_exactly_is_kept_and_less_is_dropped():
    assert one_class([0.6, 0.6, 0], mean_s=4.0) == [(0.0, 2.0, 0.6)]
    assert one_class([0.6, 0.6, 0], mean_s=4.0000001) == []


def interpolated(scores, threshold=0.5, mean_s=0.0, sps=1.0):
    rule = DetectionRule((threshold,), (mean_s,), ends="interpolated")
    found = detect(np.array(scores, dtype=np.float64)[:, None], ["hug"], rule, sps)
    return [(pytest.approx(d.start_s), pytest.approx(d.end_s), d.score) for d in found]


def test_interpolated_ends_lie_where_scores_cross_a_share_of_the_highest():
    # Score j belongs to position j + 1; the level is 0.4. From 0.1 to 0.7 it lies half way, from 0.6 to 0.2 as well.
    scores = [0.0, 0.1, 0.7, 1.0, 0.6, 0.2, 0.1]
    assert interpolated(scores) == [(2.5, 5.5, 1.0)]
    assert interpolated(scores, sps=2.0) == [(1.25, 2.75, 1.0)]
    assert interpolated(scores, threshold=0.1) == [(2.5, 5.5, 1.0)]
    assert interpolated(scores, threshold=1.0) == []
    assert interpolated([score / 2 for score in scores], threshold=0.3) == [(2.5, 5.5, 0.5)]


def test_an_interpolated_run_at_the_clips_end_reaches_to_it():
    assert interpolated([1.0, 0.2]) == [(0.0, 1.75, 1.0)]
    assert interpolated([0.2, 1.0]) == [(1.25, 3.0, 1.0)]
    assert interpolated([0.6, 0.7, 0.6]) == [(0.0, 4.0, 0.7)]
    assert interpolated([0.7, 0.7]) == [(0.0, 3.0, 0.7)]


def test_interpolated_runs_are_apart_where_scores_fall_below_the_share_of_both():
    assert interpolated([0.0, 0.8, 0.25, 1.0, 0.0]) == [(1.4, 2.0 + 0.48 / 0.55, 0.8), (3.2, 4.6, 1.0)]
    assert interpolated([0.0, 0.6, 0.25, 1.0, 0.0]) == [(3.2, 4.6, 1.0)]  # 0.25 is above 0.4 times 0.6
    assert interpolated([0.0, 1.0, 0.25, 0.6, 0.0]) == [(1.4, 2.8, 1.0)]


def test_interpolated_runs_shorter_than_half_the_mean_are_dropped():
    scores = [0.0, 0.0, 1.0, 0.0, 0.0]  # 1.2 snippets wide at 0.4
    assert interpolated(scores, mean_s=2.39) == [(2.4, 3.6, 1.0)]
    assert interpolated(scores, mean_s=2.41) == []


def test_the_rate_of_snippets_depends_on_the_ends():
    published, ours = (DetectionRule((0.5,), (1.0,), ends=ends) for ends in ("published", "interpolated"))
    assert published.snippets_per_second(107, 25.0) == pytest.approx(13 / 4.28)
    assert ours.snippets_per_second(107, 25.0) == 25 / 8


LONG = [0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58, 0.59]


def test_long_runs_stay_whole_without_split():
    assert one_class(LONG, mean_s=4.0) == [(0.0, 9.0, 0.55)]


def test_a_long_run_splits_in_two():
    # cut = 9 - int(4 * 1 / 2) = 7; the parts are not filtered again: the second is shorter than half the mean
    assert one_class(LONG, mean_s=4.0, split_long=True) == [(0.0, 7.0, 0.55), (8.0, 9.0, 0.59)]
    # a run touching the clip's end with a longer tail: int(4.9 / 2) = 2 truncates, twice the mean is not reached
    assert one_class(LONG, mean_s=4.9, split_long=True) == [(0.0, 9.0, 0.55)]


def test_twice_the_mean_exactly_is_not_split():
    assert one_class(LONG[:8], mean_s=4.0, split_long=True) == [(0.0, 8.0, 0.55)]


@pytest.mark.parametrize(("mean_s", "expected"), [(0.0, (0.0, 9.0, 0.55)), (2.0, (0.0, 8.0, 0.55))])
def test_an_empty_second_part_is_omitted(mean_s, expected):
    assert one_class(LONG, mean_s=mean_s, split_long=True) == [expected]


def test_order_is_by_class_then_time():
    scores = np.array([[0, 0.9], [0.9, 0], [0, 0.8], [0.8, 0]])
    found = detect(scores, ["drop", "fight"], DetectionRule((0.5, 0.5), (0.0, 0.0)), 1.0)
    assert found == [
        Detection("drop", 1.0, 2.0, 0.9),
        Detection("drop", 3.0, 4.0, 0.8),
        Detection("fight", 0.0, 1.0, 0.9),
        Detection("fight", 2.0, 3.0, 0.8),
    ]
    assert all(type(value) is float for d in found for value in (d.start_s, d.end_s, d.score))


def test_no_snippets_and_nothing_above():
    assert detect(np.zeros((0, 1)), ["hug"], DetectionRule((0.5,), (1.0,)), 3.125) == []
    assert one_class([0.1, 0.2]) == []


def test_a_score_that_is_not_finite_is_refused_with_its_place():
    scores = np.zeros((3, 2))
    scores[1, 1] = np.nan
    with pytest.raises(InfdetError, match="snippet 1, class fight is nan"):
        detect(scores, ["drop", "fight"], DetectionRule((0.5, 0.5), (0.0, 0.0)), 1.0)


def test_scores_and_rules_of_wrong_shape():
    rule = DetectionRule((0.5,), (1.0,))
    with pytest.raises(ConfigError, match="1 thresholds, expected 2"):
        detect(np.zeros((3, 2)), ["drop", "fight"], rule, 1.0)
    with pytest.raises(InfdetError, match=r"shape \[3, 2\]"):
        detect(np.zeros((3, 2)), ["drop"], rule, 1.0)
    with pytest.raises(InfdetError, match="shape"):
        detect(np.zeros(3), ["drop"], rule, 1.0)
    for sps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InfdetError, match="snippets per second"):
            detect(np.zeros((3, 1)), ["drop"], rule, sps)


def test_a_rule_is_checked_when_made():
    with pytest.raises(ConfigError, match="2 thresholds but 1 mean"):
        DetectionRule((0.5, 0.5), (1.0,))
    with pytest.raises(ConfigError, match="threshold nan"):
        DetectionRule((float("nan"),), (1.0,))
    with pytest.raises(ConfigError, match="mean duration -1"):
        DetectionRule((0.5,), (-1.0,))
    assert from_dict(DetectionRule, {"thresholds": [0.3], "mean_duration_s": [2]}) == DetectionRule((0.3,), (2.0,))

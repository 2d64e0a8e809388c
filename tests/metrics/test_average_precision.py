import json
from dataclasses import replace

import numpy as np
import pytest

from infdet_deploy.datasets.annotations import read_annotations
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.formats.thumos import read_class_ids
from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.errors import AnnotationError, UsageError
from infdet_deploy.metrics.average_precision import (
    IOU_THRESHOLDS,
    average_precision_activitynet,
    average_precision_thumos14,
    mean_average_precision,
    precision_recall,
    temporal_iou,
)
from infdet_deploy.metrics.breakdown import breakdown
from tests.paths import SHARED

KIT, TEST = SHARED / "thumos_eval", SHARED / "infdet_annotations" / "test"
BOTH = pytest.mark.parametrize("average_precision", [average_precision_thumos14, average_precision_activitynet])


def found(video, start_s, end_s, score):
    return ScoredInstance(video, "hug", start_s, end_s, score)


@pytest.mark.skipif(not (KIT.is_dir() and TEST.is_dir()), reason="the kit's detection files and results are not here")
@pytest.mark.parametrize("name", ["close", "loose", "noisy"])
def test_equals_the_thumos14_kit(name):
    expected = json.loads((KIT / "expected.json").read_text())[name]
    detections = read_detections(KIT / f"{name}.txt", read_class_ids(TEST))
    result = mean_average_precision(read_annotations(TEST), detections, "thumos14").to_dict()
    assert list(result) == ["protocol", "map", "ap"]
    assert list(expected) == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    assert list(result["map"]) == [*expected, "0.6", "0.7"]
    for iou, values in expected.items():
        assert result["map"][iou] == pytest.approx(values["map"], rel=0, abs=1e-9)
        for label in ("drop", "fight", "hug"):
            assert result["ap"][label][iou] == pytest.approx(values[label], rel=0, abs=1e-9)


def test_temporal_iou():
    iou = temporal_iou([(0, 2), (5, 6)], [(1, 3), (2, 4), (0, 2)])
    np.testing.assert_array_equal(iou, [[1 / 3, 0, 1], [0, 0, 0]])
    assert temporal_iou([], [(0, 1)]).shape == (0, 1)
    assert iou.dtype == np.float64


def test_an_iou_at_the_threshold_counts_in_activitynet_only():
    truth, detections = {"v": [(0.0, 2.0)]}, [found("v", 0.0, 1.0, 0.9)]
    assert average_precision_thumos14(truth, detections, 0.5) == 0.0
    assert average_precision_activitynet(truth, detections, 0.5) == 1.0
    assert average_precision_thumos14(truth, detections, 0.4) == 1.0


@BOTH
def test_no_detections(average_precision):
    assert average_precision({"v": [(0.0, 2.0)]}, [], 0.5) == 0.0


@BOTH
def test_detections_in_videos_without_instances_are_false_positives(average_precision):
    truth = {"v": [(0.0, 2.0)]}
    detections = [found("w", 0.0, 2.0, 0.9), found("v", 0.0, 2.0, 0.8)]
    assert average_precision(truth, detections, 0.5) == 0.5
    assert average_precision({**truth, "w": []}, detections, 0.5) == 0.5


@BOTH
def test_a_second_detection_of_an_instance_is_a_false_positive(average_precision):
    truth = {"v": [(0.0, 2.0), (4.0, 6.0)]}
    detections = [found("v", 0.0, 2.0, 0.9), found("v", 0.0, 1.9, 0.8), found("v", 4.0, 6.0, 0.7)]
    assert average_precision(truth, detections, 0.5) == pytest.approx((1 + 2 / 3) / 2)


def test_protocols_differ_in_who_chooses():
    """THUMOS'14: the instance selects the detection of highest IoU. ActivityNet: the highest score selects first."""
    truth, detections = {"v": [(0.0, 2.0)]}, [found("v", 0.0, 1.5, 0.9), found("v", 0.0, 2.0, 0.8)]
    assert average_precision_thumos14(truth, detections, 0.5) == 0.5
    assert average_precision_activitynet(truth, detections, 0.5) == 1.0


def test_precision_is_interpolated_in_activitynet_only():
    truth = {"v": [(0.0, 2.0), (4.0, 6.0), (8.0, 9.0)]}
    detections = [found("v", 20.0, 22.0, 0.9), found("v", 0.0, 2.0, 0.8), found("v", 4.0, 6.0, 0.7)]
    assert average_precision_thumos14(truth, detections, 0.5) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert average_precision_activitynet(truth, detections, 0.5) == pytest.approx((2 / 3 + 2 / 3) / 3)


def test_thumos14_instances_choose_in_file_order():
    """Both instances prefer the same detection; the order decides whether the second matches another."""
    wide, narrow = (0.0, 10.0), (0.0, 6.0)
    detections = [found("v", 0.0, 7.0, 0.9), found("v", 4.0, 10.0, 0.8)]
    # wide: IoU 0.7 and 0.6; narrow: IoU 6/7 and 0.2
    assert average_precision_thumos14({"v": [wide, narrow]}, detections, 0.5) == 0.5
    assert average_precision_thumos14({"v": [narrow, wide]}, detections, 0.5) == 1.0


def test_thumos14_equal_iou_goes_to_the_higher_score_then_to_the_first():
    truth = {"v": [(0.0, 4.0)]}
    low, high = found("v", 0.0, 3.0, 0.5), found("v", 1.0, 4.0, 0.6)
    assert average_precision_thumos14(truth, [low, high], 0.5) == 1.0
    assert average_precision_thumos14(truth, [high, low], 0.5) == 1.0
    same = found("v", 1.0, 4.0, 0.5)
    assert average_precision_thumos14(truth, [low, same], 0.5) == 1.0
    assert average_precision_thumos14(truth, [same, low], 0.5) == 1.0


def test_activitynet_equal_iou_selects_the_first_free_instance():
    truth = {"v": [(0.0, 4.0), (4.0, 8.0)]}  # the detection at 2–6 overlaps both by 1/3
    detections = [found("v", 2.0, 6.0, 0.9), found("v", 0.0, 4.0, 0.8)]
    assert average_precision_activitynet(truth, detections, 0.3) == pytest.approx(0.5)
    reversed_truth = {"v": truth["v"][::-1]}
    assert average_precision_activitynet(reversed_truth, detections, 0.3) == 1.0


def test_a_taken_best_instance_leaves_the_next_best():
    truth = {"v": [(0.0, 4.0), (1.0, 5.0)]}
    detections = [found("v", 0.0, 4.0, 0.9), found("v", 0.0, 4.1, 0.8)]
    assert average_precision_activitynet(truth, detections, 0.5) == 1.0
    assert average_precision_thumos14(truth, detections, 0.5) == 1.0


@BOTH
def test_equal_scores_keep_their_order_within_a_video(average_precision):
    truth = {"v": [(0.0, 2.0)]}
    hit, miss = found("v", 0.0, 2.0, 0.5), found("v", 9.0, 10.0, 0.5)
    assert average_precision(truth, [hit, miss], 0.5) == 1.0
    assert average_precision(truth, [miss, hit], 0.5) == 0.5


def test_equal_scores_of_two_videos():
    """THUMOS'14's kit sorts the videos by name; ActivityNet's protocol keeps the input order."""
    truth = {"a": [(0.0, 2.0)]}
    detections = [found("b", 0.0, 2.0, 0.5), found("a", 0.0, 2.0, 0.5)]
    assert average_precision_thumos14(truth, detections, 0.5) == 1.0
    assert average_precision_thumos14(truth, detections[::-1], 0.5) == 1.0
    assert average_precision_activitynet(truth, detections, 0.5) == 0.5
    assert average_precision_activitynet(truth, detections[::-1], 0.5) == 1.0


@BOTH
def test_a_class_without_instances_has_no_average_precision(average_precision):
    with pytest.raises(UsageError, match="not defined"):
        average_precision({"v": []}, [], 0.5)


CLIPS = (
    Clip("v", 20.0, None, (Instance("hug", 0.0, 2.0), Instance("drop", 5.0, 6.0))),
    Clip("w", 20.0, None, ()),
)


@pytest.mark.parametrize("protocol", ["thumos14", "activitynet"])
def test_classes_without_instances_are_left_out_of_the_mean(protocol):
    detections = [found("v", 0.0, 2.0, 0.9), ScoredInstance("w", "fight", 0.0, 1.0, 0.9)]
    expected = {"protocol": protocol, "map": {"0.5": 0.5, "0.75": 0.5}}
    expected["ap"] = {
        "drop": {"0.5": 0.0, "0.75": 0.0},
        "fight": {"0.5": None, "0.75": None},
        "hug": {"0.5": 1.0, "0.75": 1.0},
    }
    result = mean_average_precision(CLIPS, detections, protocol, thresholds=(0.5, 0.75)).to_dict()
    assert result == expected
    json.dumps(result, allow_nan=False)
    assert mean_average_precision(CLIPS, detections, protocol, classes=["hug"]).map == {
        f"{iou}": 1.0 for iou in IOU_THRESHOLDS
    }


def test_bad_requests_and_detections_are_refused():
    with pytest.raises(UsageError, match="'voc', expected one of thumos14, activitynet"):
        mean_average_precision(CLIPS, [], "voc")
    for thresholds in ((), (0.0,), (1.5,), (float("nan"),)):
        with pytest.raises(UsageError, match="IoU thresholds"):
            mean_average_precision(CLIPS, [], "thumos14", thresholds=thresholds)
    with pytest.raises(AnnotationError, match="no instance of fight in 2 clips"):
        mean_average_precision(CLIPS, [], "thumos14", classes=["fight"])
    with pytest.raises(AnnotationError, match="no instance of any class"):
        mean_average_precision((), [], "activitynet")
    for numbers in ((0.0, 1.0, float("nan")), (0.0, float("inf"), 0.5)):
        with pytest.raises(AnnotationError, match=r"video 'v': got .*, expected finite numbers"):
            mean_average_precision(CLIPS, [found("v", *numbers)], "activitynet")


def test_precision_recall_by_both_protocols():
    """Detections by falling score: a loose match, an exact match, no match, and a match of the second instance."""
    clips = (Clip("v", 20.0, None, (Instance("hug", 0.0, 2.0), Instance("hug", 8.0, 9.0), Instance("drop", 5.0, 6.0))),)
    detections = [
        found("v", 8.0, 9.0, 0.3), found("v", 0.0, 1.5, 0.9), found("v", 0.0, 2.0, 0.8), found("w", 0.0, 1.0, 0.5),
    ]  # fmt: skip
    curves = precision_recall(clips, detections, "thumos14", ("drop", "fight", "hug"))
    assert list(curves) == ["drop", "hug"]  # no instance of fight
    assert curves["drop"].recall.tolist() == curves["drop"].precision.tolist() == []
    assert curves["hug"].scores.tolist() == [0.9, 0.8, 0.5, 0.3]
    assert curves["hug"].order.tolist() == [1, 2, 3, 0]
    assert curves["hug"].matches.tolist() == [-1, 0, -1, 1]  # the instance selects the exact match
    assert curves["hug"].precision.tolist() == [0, 1 / 2, 1 / 3, 1 / 2]
    assert curves["hug"].recall.tolist() == [0, 1 / 2, 1 / 2, 1]
    hug = precision_recall(clips, detections, "activitynet")["hug"]
    assert hug.matches.tolist() == [0, -1, -1, 1]  # the higher score selects the instance
    assert hug.precision.tolist() == [1, 1 / 2, 1 / 3, 1 / 2]
    assert hug.recall.tolist() == [1 / 2, 1 / 2, 1 / 2, 1]
    assert precision_recall(clips, detections, "activitynet", iou=0.8)["hug"].matches.tolist() == [-1, 0, -1, 1]


@pytest.mark.parametrize("protocol", ["thumos14", "activitynet"])
def test_detections_on_ambiguous_intervals_are_neither_right_nor_wrong(protocol):
    """As TH14eventdetpr.m: any overlap exempts a detection that matches nothing, and only such a detection."""
    clips = [
        Clip("a", None, None, (Instance("x", 10.0, 20.0),), ambiguous=(Instance("Ambiguous", 19.0, 70.0),)),
        Clip("b", None, None, (Instance("x", 5.0, 9.0),)),
    ]
    found = [
        ScoredInstance("a", "x", 61.0, 90.0, 0.99),  # partly ambiguous
        ScoredInstance("a", "x", 10.0, 20.0, 0.9),  # right, although it overlaps
        ScoredInstance("b", "x", 61.0, 69.0, 0.8),  # ambiguous only in the other clip
        ScoredInstance("b", "x", 5.0, 9.0, 0.7),
        ScoredInstance("a", "x", 70.0, 71.0, 0.6),  # touches
    ]
    assert mean_average_precision(clips, found, protocol, thresholds=(0.5,)).map["0.5"] == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert precision_recall(clips, found, protocol)["x"].order.tolist() == [1, 2, 3, 4]
    assert breakdown(clips, found).detections["x"] == {
        "correct": 2, "duplicate": 0, "wrong_class": 0, "poor_localisation": 0, "background": 2
    }  # fmt: skip
    every = [replace(one, video="a", start_s=30.0, end_s=31.0) for one in found]
    assert mean_average_precision(clips, every, protocol, thresholds=(0.5,)).map["0.5"] == 0.0

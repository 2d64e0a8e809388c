import json

import pytest

from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.metrics.breakdown import DETECTIONS, INSTANCES, breakdown

# drop at 0–4 and 20–24, hug at 10–14, in v; nothing in w.
CLIPS = (
    Clip("v", 30.0, None, (Instance("drop", 0.0, 4.0), Instance("hug", 10.0, 14.0), Instance("drop", 20.0, 24.0))),
    Clip("w", 30.0, None, ()),
)


def found(start_s, end_s, score=0.5, label="drop", video="v"):
    return ScoredInstance(video, label, start_s, end_s, score)


def counted(names, **counts):
    return dict.fromkeys(names, 0) | counts


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        (found(0.0, 2.0), "correct"),  # IoU 0.5
        (found(0.0, 1.99), "poor_localisation"),
        (found(0.0, 0.4), "poor_localisation"),  # IoU 0.1
        (found(0.0, 0.39), "background"),
        (found(10.0, 12.0), "wrong_class"),
        (found(10.0, 11.99), "background"),  # neither the class nor the place
        (found(6.0, 8.0), "background"),
        (found(0.0, 4.0, video="w"), "background"),
        (found(0.0, 4.0, video="not annotated"), "background"),
    ],
)
def test_each_kind_of_detection(detection, kind):
    report = breakdown(CLIPS, [detection]).to_dict()
    assert report["detections"] == {"drop": counted(DETECTIONS, **{kind: 1}), "hug": counted(DETECTIONS)}


def test_the_higher_score_is_correct_and_the_lower_its_duplicate():
    report = breakdown(CLIPS, [found(0.0, 4.0, 0.4), found(0.0, 3.0, 0.9), found(0.5, 4.0, 0.3)]).to_dict()
    assert report["detections"]["drop"] == counted(DETECTIONS, correct=1, duplicate=2)
    assert report["instances"]["drop"] == counted(INSTANCES, found=1, missed=1)


def test_order_of_the_kinds():
    """Two actions at once: a detection that fits both is correct; one that only touches its own has the wrong class."""
    clips = (Clip("v", 30.0, None, (Instance("drop", 0.0, 4.0), Instance("hug", 2.0, 8.0))),)
    assert breakdown(clips, [found(0.0, 6.0)]).detections["drop"]["correct"] == 1  # IoU 0.67 and 0.5
    assert breakdown(clips, [found(2.0, 8.0)]).detections["drop"]["wrong_class"] == 1  # IoU 0.25 and 1
    twice = breakdown(clips, [found(0.0, 4.0, 0.9), found(0.0, 6.0, 0.8)]).detections["drop"]
    assert twice == counted(DETECTIONS, correct=1, duplicate=1)


def test_instances():
    detections = [found(20.0, 21.0), found(0.0, 4.0), found(0.0, 4.0, label="hug")]
    report = breakdown(CLIPS, detections).to_dict()
    assert report["instances"] == {
        "drop": counted(INSTANCES, found=1, found_badly=1),
        "hug": counted(INSTANCES, missed=1),
    }
    assert (report["iou"], report["low_iou"]) == (0.5, 0.1)
    json.dumps(report, allow_nan=False)


def test_counts_add_up():
    detections = [
        found(start / 2, start / 2 + 3, start / 100, label) for start in range(40) for label in ("drop", "hug")
    ]
    report = breakdown(CLIPS, detections).to_dict()
    assert {label: sum(kinds.values()) for label, kinds in report["detections"].items()} == {"drop": 40, "hug": 40}
    assert {label: sum(kinds.values()) for label, kinds in report["instances"].items()} == {"drop": 2, "hug": 1}


def test_one_class_and_classes_without_instances():
    report = breakdown(CLIPS, [found(10.0, 14.0), found(0.0, 4.0, label="wave")], ("drop",)).to_dict()
    assert report["detections"] == {"drop": counted(DETECTIONS, wrong_class=1)}  # hug occurs but is not evaluated
    alone = (Clip("v", 9.0, None, (Instance("drop", 0.0, 4.0),)),)
    report = breakdown(alone, [found(0.0, 4.0)]).to_dict()
    assert report["detections"] == {"drop": counted(DETECTIONS, correct=1)}
    report = breakdown(alone, [found(0.0, 4.0, label="wave")]).to_dict()
    assert report["detections"]["wave"] == counted(DETECTIONS, wrong_class=1)
    assert report["instances"] == {"drop": counted(INSTANCES, missed=1), "wave": counted(INSTANCES)}


def test_ambiguous_detections_of_a_class_without_instances():
    clips = (Clip("v", 30.0, None, CLIPS[0].instances, ambiguous=(Instance("Ambiguous", 5.0, 8.0),)),)
    detections = [found(6.0, 9.0, label=label) for label in ("drop", "wave")] + [found(26.0, 28.0, label="wave")]
    report = breakdown(clips, detections, ("drop", "wave")).to_dict()
    assert report["detections"] == {"drop": counted(DETECTIONS), "wave": counted(DETECTIONS, background=1)}

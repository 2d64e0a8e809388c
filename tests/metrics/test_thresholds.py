import numpy as np
import pytest

from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import AnnotationError
from infdet_deploy.metrics.thresholds import ScoredClip, detections, fit_thresholds


def rule(*mean_duration_s: float, ends: str = "published") -> DetectionRule:
    return DetectionRule((0.5,) * len(mean_duration_s), mean_duration_s, ends=ends)


def scored(label: str, *others: str) -> ScoredClip:
    """20 s at 1 snippet/s with an action at 4–10 s. Below 0.31 everything is one run, above 0.79 there is none."""
    scores = np.full((19, 1 + len(others)), 0.31, np.float32)
    scores[4:10, 0] = 0.79
    return ScoredClip(Clip("c", 20.0, None, (Instance(label, 4.0, 10.0),)), scores, 1.0)


def test_fitted_threshold_is_the_good_one_nearest_to_the_published():
    assert fit_thresholds([scored("drop")], ("drop",), rule(6.0)) == (0.325,)  # of 0.325 … 0.775, from 0.3
    assert fit_thresholds([scored("wave")], ("wave",), rule(6.0)) == (0.5,)
    # With interpolated ends, 0.31 is below 0.4 of the action's score.
    assert fit_thresholds([scored("wave")], ("wave",), rule(6.0, ends="interpolated")) == (0.3,)


def test_detections_of_clips():
    found = detections([scored("drop", "hug")], ("drop", "hug"), DetectionRule((0.5, 0.2), (1.0, 1.0)))
    assert found == [
        ScoredInstance("c", "drop", 4.0, 10.0, pytest.approx(0.79)),
        ScoredInstance("c", "hug", 0.0, 19.0, pytest.approx(0.31)),
    ]


def test_a_class_without_instances_cannot_be_fitted():
    with pytest.raises(AnnotationError, match="no instance of class 'hug' in 1 clips to fit its threshold on"):
        fit_thresholds([scored("drop", "hug")], ("drop", "hug"), rule(6.0, 6.0))

"""Runs decided once, on scores written by hand."""

import numpy as np
import pytest

from infdet_deploy.detections import DetectionRule, detect
from infdet_deploy.live.decisions import Decisions


def rule(*thresholds: float, mean_s: float = 0.0, split_long: bool = False, ends: str = "published") -> DetectionRule:
    return DetectionRule(thresholds or (0.5,), (mean_s,) * len(thresholds or (0.5,)), split_long, ends)


def scores(*runs: tuple[int, int], length: int) -> np.ndarray:
    """[length, 1]: 0.1 outside the runs, in them 0.9, and 0.8 at every odd snippet."""
    values = np.full((length, 1), 0.1, np.float32)
    for start, end in runs:
        values[start:end] = 0.9
        values[start:end][np.arange(start, end) % 2 == 1] = 0.8
    return values


def given(decisions: Decisions, values: np.ndarray, first: int = 0, final: bool = False) -> list[tuple[int, int]]:
    decide = decisions.finish if final else decisions.update
    return [(one.start, one.end) for one in decide(values, first, 3.0)]


def test_a_run_is_decided_once_when_it_has_settled():
    decisions = Decisions(rule(), settle=3)
    assert given(decisions, scores((4, 8), length=8)) == []
    assert given(decisions, scores((4, 8), length=10)) == []
    (one,) = decisions.update(scores((4, 8), length=11), 0, 3.0)
    assert (one.label, one.start, one.end, one.score) == (0, 4, 8, pytest.approx(0.9))
    assert given(decisions, scores((4, 8), length=12)) == []
    assert given(decisions, scores((4, 8), length=40), final=True) == []


def test_the_end_closes_open_runs_and_equals_offline():
    values = np.random.default_rng(1).random((60, 2)).astype(np.float32)
    both = rule(0.4, 0.6, mean_s=1.0, split_long=True)
    found = Decisions(both).finish(values, 0, 3.0)
    offline = detect(values, ("a", "b"), both, 3.0)
    assert len(offline) > 8
    assert [("ab"[f.label], f.start / 3, f.end / 3, f.score) for f in found] == [
        (d.label, d.start_s, d.end_s, d.score) for d in offline
    ]


@pytest.mark.parametrize("ends", ["published", "interpolated"])
def test_scores_that_do_not_change_give_offlines_detections_with_any_windows(ends):
    """With scores that do not depend on the window, every schedule of windows gives offline's detections."""
    rng = np.random.default_rng(2)
    for case in range(40):
        values = np.repeat(rng.random((60, 2)), rng.integers(1, 5), axis=0).astype(np.float32)
        values **= 1 if ends == "published" else 4  # deep valleys, so that runs fit into the window
        two = rule(0.45, 0.55, mean_s=float(rng.choice([0, 1, 2])), split_long=bool(case % 2), ends=ends)
        decisions, end, found = Decisions(two, settle=int(rng.integers(1, 7))), 0, []
        while end < len(values):
            end = min(end + int(rng.integers(1, 9)), len(values))
            first = max(0, end - 30)
            found += decisions.update(values[first:end], first, 3.0)
        found += decisions.finish(values[first:end], first, 3.0)
        offline = detect(values, ("a", "b"), two, 3.0)
        assert sorted(("ab"[f.label], f.start / 3, f.end / 3) for f in found) == [
            (d.label, pytest.approx(d.start_s), pytest.approx(d.end_s)) for d in offline
        ]


def test_a_later_variant_of_a_decided_run_is_suppressed():
    decisions = Decisions(rule(), settle=2)
    assert given(decisions, scores((4, 8), length=10)) == [(4, 8)]
    assert given(decisions, scores((3, 10), length=12)) == []  # half new, no more
    assert decisions.suppressed == 1
    assert given(decisions, scores((3, 8), length=14)) == []
    assert given(decisions, scores((2, 4), length=16)) == []  # before what was decided
    assert decisions.suppressed == 1


def test_a_run_that_is_mostly_new_begins_at_the_end_of_the_earlier_action():
    decisions = Decisions(rule(), settle=2)
    assert given(decisions, scores((4, 8), length=10)) == [(4, 8)]
    assert given(decisions, scores((6, 20), length=22)) == [(8, 20)]
    assert decisions.suppressed == 0


def test_an_open_run_that_shrinks_or_vanishes():
    decisions = Decisions(rule(), settle=2)
    assert given(decisions, scores((4, 12), length=12)) == []
    assert given(decisions, scores((4, 8), length=13)) == [(4, 8)]
    decisions = Decisions(rule(), settle=2)
    assert given(decisions, scores((4, 12), length=12)) == []
    assert given(decisions, scores(length=16)) == []
    assert given(decisions, scores(length=18), final=True) == []


def test_a_late_run_does_not_pass_an_open_one():
    decisions = Decisions(rule(), settle=2)
    assert given(decisions, scores((4, 8), (9, 14), length=14)) == [(4, 8)]
    assert given(decisions, scores((4, 8), (9, 12), (13, 16), length=16)) == [(9, 12)]
    assert given(decisions, scores((4, 8), (9, 12), (13, 16), length=18)) == [(13, 16)]


def test_a_run_longer_than_the_window_keeps_its_start():
    decisions = Decisions(rule(), settle=2)
    everywhere = np.full((20, 1), 0.9, np.float32)
    values = scores((10, 20), length=20)
    assert given(decisions, values) == []
    for first in range(4, 200, 4):
        shown = everywhere[: 20 - max(0, 10 - first)] if first < 10 else everywhere
        window = np.full((20, 1), 0.1, np.float32)
        window[20 - len(shown) :] = shown
        assert given(decisions, window, first) == []
        assert decisions.open_starts == [10]
    closing = np.concatenate((everywhere[:16] * 0.8, np.full((4, 1), 0.1, np.float32)))
    (one,) = decisions.update(closing, 200, 3.0)
    assert (one.start, one.end) == (10, 216)
    assert one.score == pytest.approx(0.72)  # of the window's first snippet, the nearest to snippet 113


def test_short_runs_are_dropped_as_offline_drops_them():
    decisions = Decisions(rule(mean_s=4.0), settle=2)  # at 3 snippets/s, shorter than 6 snippets
    assert given(decisions, scores((4, 9), (12, 18), length=20)) == [(12, 18)]


def test_a_long_run_is_split_only_when_all_of_it_has_closed():
    split = rule(mean_s=2.0, split_long=True)
    decisions = Decisions(split, settle=2)
    assert given(decisions, scores((2, 20), length=21)) == []
    assert given(decisions, scores((2, 20), length=22)) == [(2, 17), (18, 20)]
    assert given(decisions, scores((2, 21), length=24)) == []

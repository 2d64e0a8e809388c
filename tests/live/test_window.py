"""The window: offline's detections over a whole stretch, bounded memory when it slides, times of the frames."""

from dataclasses import replace

import numpy as np
import pytest

from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import UsageError
from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.window import SlidingWindow, Timeline, WholeStretch
from infdet_deploy.runtime.detector import Detector

RULE = DetectionRule((0.5,), (0.2,))


def head(features, first, length):
    return features["f"]


def play(window, scores, fps=25.0, at_once=1):
    """Push scores as if they were features; each action with the number of snippets pushed by then."""
    found = []
    for begin in range(0, len(scores), at_once):
        part = scores[begin : begin + at_once]
        times = 1000 + np.arange(8 * begin, 8 * (begin + len(part))) / fps
        found += [(begin + len(part), one) for one in window.push({"f": part}, times, fps)]
    return found


def run_of(length, *runs):
    scores = np.full((length, 1), 0.1, np.float32)
    for start, end in runs:
        scores[start:end] = 0.9
    return scores


def test_an_action_has_the_times_of_its_frames_and_is_returned_once_closed():
    ((when, one),) = play(SlidingWindow(head, ("a",), RULE, 20, every=4, settle=6), run_of(40, (10, 14)))
    assert when == 20
    assert one.detection.start_s == pytest.approx(10 * 8 / 25)
    assert (one.start, one.end) == (pytest.approx(1000 + 80 / 25), pytest.approx(1000 + 112 / 25))


def test_a_run_longer_than_the_window_keeps_its_start_and_time():
    window = SlidingWindow(head, ("a",), RULE, window_s=10, every=4)
    found = play(window, run_of(400, (20, 300)))
    assert [(round(f.start - 1000, 3), round(f.end - 1000, 3)) for _, f in found] == [(6.4, 96.0)]
    assert window._buffer.end - window._buffer.first <= window.snippets_at(25) + 4
    assert len(window._buffer.features()["f"]) == window._buffer.end - window._buffer.first
    assert len(window._timeline._starts) <= window.snippets_at(25) + 5


def test_a_whole_stretch_is_decided_at_its_end_and_a_window_of_0_s_is_refused():
    window = WholeStretch(head, ("a",), RULE)
    assert play(window, run_of(40, (3, 9), (30, 40))) == []
    assert [round(f.end - 1000, 2) for f in window.finish({"f": run_of(0)}, 25.0)] == [2.88, 12.8]
    with pytest.raises(UsageError, match="window of 0 s"):
        SlidingWindow(head, ("a",), RULE, window_s=0)


def test_times_between_snippets_and_after_the_last_frame():
    line = Timeline()
    line.add(100 + np.arange(20) / 10)
    assert line.fps == pytest.approx(10)
    assert [line.at(s, 10) for s in (0, 1, 1.5, 2, 2.5, 3)] == pytest.approx([100, 100.8, 101.2, 101.6, 102, 102.4])
    line.forget(2, keep=[0])
    assert line.at(0, 10) == 100


@pytest.fixture(scope="module")
def offline(tiny_bundle):
    with Detector(tiny_bundle) as ready:
        yield ready


@pytest.fixture(scope="module")
def live(offline):
    """The head as `watch` has it, for `--every 0` and for any other."""
    heads = [LiveHead(offline.bundle, cached=cached) for cached in (False, True)]
    yield heads
    for one in heads:
        one.close()


@pytest.mark.parametrize("frames", [100, 165, 203])
def test_all_at_once_equals_offline(offline, live, tiny_clip, frames):
    clip, bundle = tiny_clip(frames), offline.bundle
    features = offline.features(clip)
    scores = offline.scores_of(features, frames)
    middle = tuple(float(s) for s in np.median(scores, axis=0))
    rule = DetectionRule(middle, (0.3,) * 3)
    offline.bundle = replace(bundle, manifest=replace(bundle.manifest, rule=rule))
    expected = offline.detections(scores, frames, 25.0)
    assert expected
    for head, every in zip(live, (0, 1000), strict=True):
        sessions = head.session(), bundle.classes, rule
        window = SlidingWindow(*sessions, 120, every) if every else WholeStretch(*sessions)
        found, given = [], 0
        for begin in range(0, frames, 8):
            upto = max(min((begin - 48) // 8, len(scores)), given)
            part = {name: values[given:upto] for name, values in features.items()}
            found += window.push(part, 50 + np.arange(begin, min(begin + 8, frames)) / 25, 25.0)
            given = upto
        found += window.finish({name: values[given:] for name, values in features.items()}, 25.0)
        if every == 0:
            assert [one.detection for one in found] == expected
            assert [one.start - 50 for one in found] == pytest.approx([d.start_s for d in expected], abs=1e-6)
            assert [one.end - 50 for one in found] == pytest.approx([d.end_s for d in expected], abs=1e-6)
        else:
            assert [f.detection.label for f in found] == [d.label for d in expected]
            assert [f.detection.score for f in found] == pytest.approx([d.score for d in expected], abs=1e-6)

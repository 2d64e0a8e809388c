"""Steps of the C++ library, each compared with Python's on random input: they are equal to the last bit."""

import numpy as np
import pytest

from infdet_deploy.detections import DetectionRule, detect
from infdet_deploy.live.decisions import Decisions
from infdet_deploy.video.background import BackgroundLevels
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.resampling import Resampler
from infdet_deploy.video.resize import resize
from tests.cpp.parity import Parity


@pytest.fixture(scope="module")
def parity(cpp_build):
    return Parity(cpp_build / "tests" / "libinfdet_parity.so")


def prepared_by_python(pictures, times_s, steps, causal):
    levels = BackgroundLevels(causal) if steps.levels == "background" else None
    resampler = None if steps.frame_rate is None else Resampler(steps.frame_rate)
    small = resize(pictures, steps.size, steps.mode)
    ready = []
    for frame, time_s in zip(small, times_s, strict=True):
        ready += [(frame, time_s)] if levels is None else levels.push(frame, time_s)
    ready += [] if levels is None else levels.finish()
    if resampler is not None:
        ready = [one for frame, time_s in ready for one in resampler.push(frame, time_s)]
    return np.stack([frame for frame, _ in ready]), np.array([time_s for _, time_s in ready])


def uneven(rng, count, fps):
    """Times on a clock that does not begin at 0; some repeat."""
    return 1000.25 + np.cumsum(rng.exponential(1 / fps, count) * (rng.random(count) > 0.1))


def scene(rng, count, dtype):
    """A sensor that drifts, with noise and a warm body, [count, 20, 26]."""
    height, width = 20, 26
    frames = rng.normal(0, 8, (count, height, width)) + rng.normal(0, 300, (height, width))
    frames += np.cumsum(rng.normal(0, 3, count))[:, None, None]
    for index, frame in enumerate(frames):
        frame[5:15, index // 3 % width :][:, :5] += 150
    return (frames + 29500).astype(dtype) if dtype == np.uint16 else np.clip(frames / 8 + 100, 0, 255).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("rate", "mode"), [(None, "resize"), (9.0, "crop"), (3.7, "resize")])
@pytest.mark.parametrize(("count", "fps"), [(600, 2.0), (40, 9.0)])
def test_prepared_frames_match_python(parity, dtype, causal, rate, mode, count, fps):
    rng = np.random.default_rng(count)
    times_s, pictures = uneven(rng, count, fps), scene(rng, count, dtype)
    assert count < 600 or times_s[-1] - times_s[0] > 200  # long after the first 120 s
    steps = Preparation(32, mode, "background", rate)
    expected, expected_s = prepared_by_python(pictures, times_s, steps, causal)
    frames, frame_times_s = parity.prepare(pictures, times_s, steps, causal, len(expected) + 9)
    assert np.array_equal(frame_times_s, expected_s)
    assert np.array_equal(frames, expected)
    assert expected.std() > 1


@pytest.mark.parametrize("rate", [1.0, 9.0, 25.0, 120.0])
def test_frame_rates_alone_match_python(parity, rate):
    rng = np.random.default_rng(7)
    for times_s in (uneven(rng, 90, 11.0), np.arange(90) / 29.97, np.arange(90) / 9.0):
        pictures = rng.integers(0, 256, (90, 12, 12), np.uint8)
        expected = prepared_by_python(pictures, times_s, steps := Preparation(32, frame_rate=rate), False)
        ours = parity.prepare(pictures, times_s, steps, False, len(expected[0]) + 9)
        assert np.array_equal(ours[0], expected[0])
        assert np.array_equal(ours[1], expected[1])


@pytest.mark.parametrize("mode", ["resize", "crop"])
def test_resized_counts_match_python(parity, mode):
    rng = np.random.default_rng(3)
    for height, width in [*((int(h), int(w)) for h, w in rng.integers(1, 200, (20, 2))), (24, 32), (64, 64), (1, 1)]:
        frame = rng.integers(0, 65536, (height, width), np.uint16)
        for size in (32, 64, int(rng.integers(1, 130))):
            assert np.array_equal(parity.resize16(frame, size, mode), resize(frame, size, mode)), (height, width, size)


def random_scores(rng, snippets, classes):
    """Smooth scores, float32, some of them equal to a threshold."""
    values = rng.random((snippets + 4, classes))
    smooth = sum(values[i : i + snippets] for i in range(5)) / 5
    smooth[rng.random(smooth.shape) < 0.05] = 0.5
    return np.ascontiguousarray(smooth, np.float32)


RULES = [
    DetectionRule((0.5, 0.45, 0.55), (0.0, 0.5, 2.0), split_long, ends)
    for split_long in (False, True)
    for ends in ("published", "interpolated")
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.ends}-{rule.split_long}")
def test_detections_match_python(parity, rule):
    rng, found = np.random.default_rng(11), 0
    for _ in range(200):
        scores, fps = random_scores(rng, int(rng.integers(1, 60)), 3), float(rng.uniform(2, 30))
        frames = 8 * (len(scores) + 1) + int(rng.integers(0, 8))
        expected = detect(scores, ("0", "1", "2"), rule, rule.snippets_per_second(frames, fps))
        ours = parity.detect(scores, rule, frames, fps)
        assert ours == [(int(one.label), one.start_s, one.end_s, one.score) for one in expected]
        found += len(ours)
    assert found > 500


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.ends}-{rule.split_long}")
def test_live_decisions_match_python(parity, rule):
    """On scores that change as the window slides; some runs are suppressed, some are longer than the window."""
    rng, found, suppressed = np.random.default_rng(13), 0, 0
    for _ in range(60):
        python, decide = Decisions(rule), parity.decisions(rule)
        scores, sps, first, width = random_scores(rng, 150, 3), float(rng.uniform(0.5, 3)), 0, int(rng.integers(9, 50))
        lasts = range(int(rng.integers(2, 9)), 151, int(rng.integers(1, 8)))
        for last in lasts:
            first, final = max(0, last - width), last == lasts[-1]
            seen = scores[first:last] + rng.normal(0, 0.03, (last - first, 3)).astype(np.float32)
            expected = (python.finish if final else python.update)(seen, first, sps)
            ours = decide(seen, first, sps, final)
            assert ours == [(one.label, one.start, one.end, one.score) for one in expected]
            found += len(ours)
        suppressed += python.suppressed
    assert found > 500
    assert suppressed > 10

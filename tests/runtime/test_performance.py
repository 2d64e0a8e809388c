"""Detectors tuned for throughput run several calls at once with the same results."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from infdet_deploy.benchmarks.contenders import contenders
from infdet_deploy.benchmarks.workers import timed_run
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.errors import UsageError
from infdet_deploy.runtime.backends.registry import available_backends
from infdet_deploy.runtime.detector import Detector

SNIPPETS = 4  # of a chunk: the clip is cut into several


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


CONCURRENT = [backend.name for backend in available_backends() if backend.capabilities.throughput]


@pytest.mark.parametrize("backend", CONCURRENT)
def test_same_features(bundle, tiny_clip, backend):
    clip = tiny_clip(176)
    with Detector(bundle, backend, chunk_snippets=SNIPPETS) as detector:
        assert detector.concurrency == 1
        expected = detector.features(clip)
    with Detector(bundle, backend, chunk_snippets=SNIPPETS, performance="throughput") as detector:
        assert detector.concurrency >= 1
        detector.concurrency = 3  # more than there may be CPUs: the rest wait
        for name, features in detector.features(clip).items():
            np.testing.assert_allclose(features, expected[name], rtol=1e-4, atol=1e-5)
        with ThreadPoolExecutor(3) as threads:
            for scores in threads.map(detector.scores, [clip, clip[::-1], clip]):
                assert scores.shape == (21, 3)
                last = scores
        np.testing.assert_allclose(last, detector.scores(clip), atol=1e-5)


def test_refused(bundle):
    with pytest.raises(UsageError, match="no performance 'fast'; expected latency or throughput"):
        Detector(bundle, performance="fast")
    with pytest.raises(UsageError, match="torchscript has no throughput mode; use openvino"):
        Detector(bundle, "torchscript", performance="throughput")
    with pytest.raises(UsageError, match="torchscript has no throughput mode"):
        contenders(bundle, "openvino,torchscript", performance="throughput")
    found = {entry.backend for entry in contenders(bundle, "all", "float32", "throughput")}
    assert found <= set(CONCURRENT)


def test_benchmark_runs_several_clips_at_once(bundle, tiny_clip):
    from threading import Barrier

    both = Barrier(2, timeout=30)  # each clip waits for the other to start

    def score(frames, seconds):
        seconds["fen"] = both.wait() + 1.0
        return {}, np.zeros((1, 3), np.float32)

    with ThreadPoolExecutor(2) as threads:
        run = timed_run(bundle, score, tiny_clip(16), 2, threads)
    assert set(run.stages_s) == {"fen", "detections"}
    assert run.stages_s["detections"] <= run.latency_s


def test_long_recordings_at_once(bundle, clip_file):
    """Memory is freed between groups of chunks, which must not disturb runs in other threads."""
    with Detector(bundle, chunk_snippets=1, performance="throughput") as detector:
        expected = detector.analyse(clip_file).scores
        with ThreadPoolExecutor(3) as threads:
            for found in threads.map(detector.analyse, [clip_file] * 6):
                np.testing.assert_allclose(found.scores, expected, atol=1e-5)

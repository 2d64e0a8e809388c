"""The contenders on a GPU: with a double of its calls on the CPU, and on a GPU where there is one."""

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from infdet_deploy.benchmarks import latency
from infdet_deploy.benchmarks.cuda import Cuda, open_contender
from infdet_deploy.benchmarks.latency import CUDA_KINDS, Contender, Timed, contenders
from infdet_deploy.benchmarks.page import page
from infdet_deploy.benchmarks.report import build_report
from infdet_deploy.benchmarks.tables import tables
from infdet_deploy.benchmarks.workers import Answer, Ready, Run, runs_on_gpu
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.runtime.detector import Detector

FRAMES = 18  # of which 16 are taken


class Twin:
    """The CPU in the place of the GPU: what is enqueued is done at once, its clock is the host's."""

    name, provider, compiler = "cpu", "CPUExecutionProvider", "eager"

    def __init__(self):
        self.waited = self.recorded = 0

    def mark(self):
        return time.perf_counter()

    def seconds(self, first, last):
        return last - first

    def synchronize(self):
        self.waited += 1

    def record(self, run):
        self.recorded += 1
        output = run().clone()
        return lambda: output.copy_(run()), output


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def clips(tiny_clip):
    """Two clips, since a graph that was recorded must not give the first one's scores again."""
    return [tiny_clip(FRAMES), tiny_clip(FRAMES)[::-1].copy()]


@pytest.fixture(scope="module")
def expected(tiny_bundle, clips):
    with Detector(tiny_bundle) as detector:
        return [detector.scores(clip) for clip in clips]


@pytest.mark.parametrize("kind", CUDA_KINDS)
def test_scores_and_times(bundle, clips, expected, kind):
    twin = Twin()
    contender = open_contender(kind, bundle, "float32", None, FRAMES, twin)
    for clip, scores in zip(clips, expected, strict=True):
        timings = {}
        start = time.perf_counter()
        np.testing.assert_allclose(contender.scores(clip, timings), scores, atol=1e-4)
        assert list(timings) == ["upload", "network", "download"]
        assert min(timings.values()) >= 0
        assert sum(timings.values()) <= time.perf_counter() - start
    waited = twin.waited
    assert 0 < contender.paper_seconds(2) < 60
    assert twin.waited - waited == (2 if kind != "onnxruntime" else 2 + 2 * len(bundle.stages))
    assert twin.recorded == (kind == "graph")


def test_without_a_gpu(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no NVIDIA GPU that PyTorch can use here"):
        open_contender("eager", bundle, "float16", None, FRAMES)
    monkeypatch.setattr(latency, "has_gpu", lambda: False)
    with pytest.raises(UsageError, match="this machine has no NVIDIA GPU, or its driver is not installed"):
        contenders(bundle, "openvino,cuda")


def test_which_contenders(bundle, monkeypatch):
    monkeypatch.setattr(latency, "has_gpu", lambda: True)
    found = contenders(bundle, "cuda")
    assert [entry.name for entry in found] == [f"cuda-{kind} float16" for kind in CUDA_KINDS]
    assert all(runs_on_gpu(entry.backend) for entry in found)
    assert [e.name for e in contenders(bundle, "all", "float32") if runs_on_gpu(e.backend)] == [
        f"cuda-{k} float32" for k in CUDA_KINDS
    ]
    assert len(contenders(bundle, "cuda", "bfloat16")) == len(CUDA_KINDS) - 1  # onnxruntime takes none
    with pytest.raises(UsageError, match="cuda takes float16, bfloat16, float32, not all of int8"):
        contenders(bundle, "cuda", "int8")


def test_report(bundle, expected):
    answer = Answer({}, expected[0], [])
    features = Answer({"infrared_features": np.ones((1, 4), np.float32)}, expected[0], [])
    runs = [
        Run(0.01 * i, {"upload": 0.001, "network": 0.002 * i, "download": 0.0005, "detections": 1e-4})
        for i in (1, 2, 3)
    ]
    states = [{"sm_mhz": 1980.0, "watts": watts} for watts in (300.0, 410.0, 420.0)]
    cpu_runs = [Run(0.5, dict.fromkeys((*bundle.stages, "detections"), 0.1))] * 3
    found = [
        Timed(Contender("cuda-graph", "float16"), None, Ready(1, 1, answer), runs, 2**30, {"gpu": 32.0}, states, 0.004),
        Timed(Contender("openvino", "float32"), None, Ready(1, 1, features), cpu_runs, 2**30),
    ]
    report = build_report(bundle, found, 16, 3, None, None)
    gpu, cpu = report["contenders"]
    assert gpu["device"] == pytest.approx(
        {"upload_ms": 1, "network_ms": 4, "download_ms": 0.5, "paper_frames_per_s": 4000, "sm_mhz": 1980, "watts": 410}
    )
    assert cpu["device"] is None
    assert gpu["accuracy"]["features_relative_l2"] is None
    assert gpu["joules_per_frame"] == pytest.approx(32 / 48)
    (table,) = [one for one in tables(report) if one.title == "On the GPU"]
    assert table.rows == [["cuda-graph float16", "1.00", "4.00", "0.50", "4000", "1980", "–", "410.0", "–"]]
    assert "<svg" in page(report)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that PyTorch can use")
@pytest.mark.parametrize("kind", ["eager", "compile", "graph", "torchscript"])
def test_on_a_gpu(bundle, clips, expected, kind):
    contender = open_contender(kind, bundle, "float16", None, FRAMES, Cuda())
    for clip, scores in zip(clips, expected, strict=True):
        np.testing.assert_allclose(contender.scores(clip, {}), scores, atol=5e-3)
    assert contender.paper_seconds(10) > 0

"""The GPU contenders, run on the CPU, and on a GPU if there is one."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from infdet_deploy.benchmarks import contenders as choice
from infdet_deploy.benchmarks.contenders import CUDA_KINDS, contenders, runs_on_gpu
from infdet_deploy.benchmarks.cuda import open_contender
from infdet_deploy.benchmarks.measure import Timed
from infdet_deploy.benchmarks.report import build_report
from infdet_deploy.benchmarks.tables import page, tables
from infdet_deploy.benchmarks.workers import Answer, Ready, Run, Start
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.plots.page import render
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector

FRAMES = 18  # of which 16 are used


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def clips(tiny_clip):
    """Two clips: a CUDA graph must not return the first one's scores again."""
    return [tiny_clip(FRAMES), tiny_clip(FRAMES)[::-1].copy()]


@pytest.fixture(scope="module")
def expected(tiny_bundle, clips):
    with Detector(tiny_bundle) as detector:
        return [detector.scores(clip) for clip in clips]


@pytest.mark.parametrize("kind", CUDA_KINDS)
def test_scores(bundle, clips, expected, kind, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module, mode: compiled.append(mode) or module)
    contender = open_contender(kind, bundle, "float32", None, FRAMES, "cpu")
    for clip, scores in zip(clips, expected, strict=True):
        np.testing.assert_allclose(contender.scores(clip), scores, atol=1e-4)
    assert 0 < contender.paper_seconds(2) < 60
    assert compiled == ["reduce-overhead"] * (kind == "compile")


def test_without_a_gpu(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="PyTorch finds no NVIDIA GPU"):
        open_contender("eager", bundle, "float16", None, FRAMES)
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    with pytest.raises(UsageError, match="this machine has no NVIDIA GPU, or its driver is not installed"):
        contenders(bundle, "openvino,cuda")


def test_cuda_contenders(bundle, monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    found = contenders(bundle, "cuda")
    assert [entry.name for entry in found] == ["cuda-eager float16", "cuda-compile float16"]
    assert all(runs_on_gpu(entry.backend) for entry in found)
    everything = contenders(bundle, "all", "float32")
    assert [e.name for e in everything if runs_on_gpu(e.backend)] == ["cuda-eager float32", "cuda-compile float32"]
    with pytest.raises(UsageError, match="cuda supports float16, bfloat16, float32, not all of int8"):
        contenders(bundle, "cuda", "int8")
    with pytest.raises(UsageError, match="cuda has no throughput mode"):
        contenders(bundle, "cuda", performance="throughput")


def test_report(bundle, expected):
    pytest.importorskip("matplotlib")
    answer = Answer({}, expected[0], [])
    features = Answer({"infrared_features": np.ones((1, 4), np.float32)}, expected[0], [])
    runs = [Run(0.01 * i, {"detections": 1e-4}) for i in (1, 2, 3)]
    cpu_runs = [Run(0.5, dict.fromkeys((*bundle.stages, "detections"), 0.1))] * 3
    gpu = Contender("cuda-compile", "float16")
    timed = [
        Timed(gpu, None, Ready(Start(1, 2), answer), runs, 2**30, {"gpu": 32.0}, paper_s=0.004),
        Timed(Contender("openvino", "float32"), None, Ready(Start(1, 2), features), cpu_runs, 2**30),
    ]
    report = build_report(bundle, timed, 16, 3)
    (_, gpu), (_, cpu) = report.measured
    assert gpu.device == {"paper_frames_per_s": 4000}
    assert cpu.device is None
    assert gpu.accuracy.features_relative_l2 is None
    assert gpu.joules_per_frame == pytest.approx(32 / 48)
    speed = tables(report)[0]
    assert speed.columns[-1] == "paper's way"
    assert [row[-1] for row in speed.rows] == ["4000", "–"]
    assert render(page(report)).count("<svg") == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU that PyTorch can use")
@pytest.mark.parametrize("kind", CUDA_KINDS)
def test_on_a_gpu(bundle, clips, expected, kind):
    contender = open_contender(kind, bundle, "float16", None, FRAMES)
    for clip, scores in zip(clips, expected, strict=True):
        np.testing.assert_allclose(contender.scores(clip), scores, atol=5e-3)
    assert contender.paper_seconds(10) > 0

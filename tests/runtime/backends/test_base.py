"""int8 on processors with and without VNNI."""

from pathlib import Path

import numpy as np
import pytest

from infdet_deploy import system as machine
from infdet_deploy.benchmarks.contenders import contenders
from infdet_deploy.benchmarks.random_bundle import random_bundle
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.tolerances import Tolerances
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.live.head import LiveHead
from infdet_deploy.runtime.backends.base import StageSource
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend, open_stage
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.doctor import examine
from infdet_deploy.system import has_exact_int8
from infdet_deploy.verification.references import contenders_of
from infdet_deploy.verification.result import Verification

NO_VNNI = {"ssse3", "avx2", "avx512f"}


@pytest.fixture
def processor(monkeypatch):
    return lambda features: monkeypatch.setattr(machine, "cpu_features", lambda: features)


@pytest.mark.parametrize(
    ("features", "exactly"),
    [
        (NO_VNNI, False),
        (NO_VNNI | {"avx512_vnni"}, True),
        (NO_VNNI | {"avx_vnni"}, True),
        ({"asimd", "asimddp"}, True),
        (set(), True),  # the system does not tell
    ],
)
def test_exact_int8_of_processors(processor, features, exactly):
    processor(features)
    assert has_exact_int8() is exactly
    assert get_backend("openvino").supports("int8") is exactly
    assert get_backend("openvino").supports("float32")
    assert get_backend("onnxruntime").supports("int8")  # of the signed file, whose convolutions it computes in float32
    assert not get_backend("torchscript").supports("int8")
    assert ("int8" in examine().backends["openvino"].precisions) is exactly


def test_int8_that_overflows_is_refused(processor):
    processor(NO_VNNI)
    with pytest.raises(BackendError, match=r"no VNNI, .* overflow in openvino; use float32, or "):
        open_stage("openvino", Path("fen.int8.openvino.onnx"), "int8", ("frames",), ("flow",))
    source = StageSource(Path("fen.int8.openvino.onnx"), "int8", ("frames",), ("flow",), digest="0" * 64)
    assert get_backend("openvino").open_cached(source) is None
    with pytest.raises(UsageError, match="torchscript supports float32, bfloat16, float16, not int8"):
        open_stage("torchscript", Path("fen.pt"), "int8", ("frames",), ("flow",))


def test_int8_is_refused_before_compiling_or_exporting(processor, tiny_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    processor(NO_VNNI)
    with pytest.raises(BackendError, match="no VNNI"):
        LiveHead(load_bundle(tiny_bundle), precision="int8")
    with pytest.raises(BackendError, match="no VNNI"):
        random_bundle("infdet", "float32,int8")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no backend 'gpu'"):
        LiveHead(load_bundle(tiny_bundle), "gpu")


def test_heads_of_long_recordings_are_then_float32(processor, tiny_bundle):
    with Detector(tiny_bundle, "onnxruntime") as detector:
        detector.bundle.entry("head").files["onnx"]["int8"] = "head.int8.onnx"
        detector.precision = "int8"
        for features, name in ((NO_VNNI, "head.float32.onnx"), (NO_VNNI | {"avx_vnni"}, "head.int8.onnx")):
            processor(features)
            assert detector._head_in_parts() == tiny_bundle / name


def test_reports_omit_int8_and_give_the_reason(processor, tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    for stage in bundle.manifest.stages.values():
        stage.files["onnx"]["int8"] = "none.onnx"
    int8 = Contender("openvino", "int8")
    processor(NO_VNNI | {"avx_vnni"})
    assert int8 in contenders(bundle)
    assert int8 in contenders_of(bundle)[0]
    processor(NO_VNNI)
    assert int8 not in contenders(bundle)
    with pytest.raises(BackendError, match="this processor has no VNNI"):
        contenders(bundle, "openvino", "int8")
    found, left_out = contenders_of(bundle)
    assert int8 not in found
    assert int8 in left_out
    report = Verification(bundle, "network", None, 0, Tolerances(), [], [], None, "", np.zeros((1, 3)), (int8,))
    assert report.notes == [
        "openvino left out in int8: this processor has no VNNI, without which int8 sums overflow; verify on a "
        "processor with VNNI"
    ]

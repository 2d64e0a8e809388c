"""Every exported stage through TensorRT-RTX's parser and compiler, without a GPU; `build --target tensorrt-rtx`."""

import importlib.util
import json

import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions, profile
from infdet_deploy.runtime.backends.tensorrt.engine import build_in_child

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed here"
)
# On Turing (sm75) TensorRT-RTX compiles no float32 3D convolution and no float32 product of two computed matrices.
# The float16 head keeps the attention's energies and the super-events in float32.
REFUSED_ON_SM75 = {
    ("infrared_tower", "float32"): "FP32 3D convolution is not supported",
    ("flow_tower", "float32"): "FP32 3D convolution is not supported",
    ("head", "float32"): "FP32 GEMM is not supported",
    ("head", "float16"): "FP32 GEMM is not supported",
}


@pytest.mark.parametrize("arch", ["sm75", "sm86", "sm89"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_parses_and_builds(tiny_bundle, stage, precision, arch):
    bundle, options = load_bundle(tiny_bundle), BuildOptions("tensorrt-rtx", arch=(arch,))
    shapes = profile(bundle.entry(stage).inputs, options)
    onnx = bundle.stage_file(stage, precision)
    if arch == "sm75" and (stage, precision) in REFUSED_ON_SM75:
        with pytest.raises(BackendError, match=REFUSED_ON_SM75[stage, precision]):
            build_in_child(onnx, shapes, options)
        return
    engine = build_in_child(onnx, shapes, options)
    assert len(engine.data) > 100_000
    assert engine.convolutions == {precision: {"fen": 16, "head": 8, "flow_tower": 56 + 16}.get(stage, 57)}
    assert not engine.inspected  # inspection needs a GPU


def test_garbage_is_refused(tmp_path, tiny_bundle):
    for name, data in (("garbage", b"\x00\x01garbage" * 100), ("empty", b"")):
        (tmp_path / f"{name}.onnx").write_bytes(data)
        with pytest.raises(BackendError, match=rf"{name}\.onnx"):
            build_in_child(tmp_path / f"{name}.onnx", {}, BuildOptions("tensorrt-rtx", arch=("sm86",)))
    with pytest.raises(BackendError, match=r"does not build fen\.float16\.onnx: .*rofile"):
        build_in_child(tiny_bundle / "fen.float16.onnx", {}, BuildOptions("tensorrt-rtx", arch=("sm86",)))


def test_command(bundle_copy, command):
    words = ("build", bundle_copy, "--quiet", "--target", "tensorrt-rtx", "--precision", "float16", "--json", "--arch")
    result = command(*words, "sm86,sm89")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["gpu"], report["capability"]) == ("sm86,sm89", "any")
    assert [(row["stage"], row["reused"], row["inspected"]) for row in report["built"]] == [
        (stage, False, False) for stage in STAGES
    ]
    assert report["built"][3]["layers"]["float32"] == 5
    again = command(*words[:-2], "--arch", "sm86,sm89")
    assert again.stdout.count("reused") == 4
    refused = command(*words, "sm75")
    assert refused.returncode == 1
    assert refused.stderr.startswith("infdet-deploy: head float16: tensorrt_rtx 1")
    assert len(refused.stderr.splitlines()) == 1


def test_unknown_architecture(tiny_bundle):
    with pytest.raises(UsageError, match=r"--arch has sm90; tensorrt_rtx .* knows sm120, .*sm75"):
        build_in_child(tiny_bundle / "fen.float16.onnx", {}, BuildOptions("tensorrt-rtx", arch=("sm90",)))

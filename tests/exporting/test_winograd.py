"""Winograd convolutions compared with direct ones."""

import json
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import FIXED_SHAPES
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import UsageError
from infdet_deploy.exporting import write_stages
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.incremental import write
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.winograd import Layer, choose_measured, matrices, rewrite
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.backends.openvino import OpenVino
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.verification.references import golden_references
from infdet_deploy.verification.stages import stage_parity
from infdet_deploy.video.sample import sample_frames

SIZES = ((4, 4), (5, 7), (9, 14), (1, 3))


def graph(kernel, size, channels=(6, 9), pads=None, bias=True, pool=False, **attributes):
    """A convolution with ReLU and perhaps a pool, T varying: its model and its weights."""
    random, spatial = np.random.default_rng(0), len(kernel)
    weights = {"weight": random.normal(size=(channels[1], channels[0], *kernel)).astype(np.float32)}
    if bias:
        weights["bias"] = random.normal(size=channels[1]).astype(np.float32)
    pads = [1] * 2 * spatial if pads is None else pads
    nodes = [
        helper.make_node("Conv", ["x", *weights], ["sum"], "layer", pads=pads, **attributes),
        helper.make_node("Relu", ["sum"], ["positive" if pool else "y"], "relu"),
    ]
    if pool:
        window = [1, 3, 3][-spatial:]
        nodes.append(helper.make_node("MaxPool", ["positive"], ["y"], "pool", kernel_shape=window))
    shape = [1, channels[0], "T", *size] if spatial == 3 else ["T", channels[0], *size]
    made = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"d{i}" for i in range(spatial + 2)])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), weights


def run(model, path, backend, x):
    onnx.save(model, str(path))
    stage = open_stage(backend, path, "float32", ("x",), ("y",))
    found = stage.run({"x": x})["y"]
    stage.close()
    return found


@pytest.mark.parametrize("m", [2, 4, 6])
def test_matrices(m):
    b, g, a = matrices(m)
    assert (b.shape, g.shape, a.shape) == ((m + 2, m + 2), (m + 2, 3), (m, m + 2))
    random = np.random.default_rng(m)
    inputs, weights = random.normal(size=m + 2), random.normal(size=3)
    expected = [inputs[i : i + 3] @ weights for i in range(m)]
    assert a @ ((g @ weights) * (b @ inputs)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("m", [2, 4, 6])
@pytest.mark.parametrize("kernel", [(3, 3), (3, 3, 3)])
def test_equals_the_direct_convolution(tmp_path, kernel, m, backend):
    """Sizes that tiles divide and sizes that they do not, with and without bias; in float64 on the other side."""
    for size, bias in zip(SIZES, (True, False, True, False), strict=True):
        model, weights = graph(kernel, size, bias=bias)
        rewritten = rewrite(model, lambda layer: m)
        assert [node.op_type for node in rewritten.graph.node].count("Relu") == 1
        shape = (1, 6, 5, *size) if len(kernel) == 3 else (5, 6, *size)
        x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        found = run(rewritten, tmp_path / "model.onnx", backend, x)
        parts = [torch.from_numpy(array).double() for array in (x, *weights.values())]
        convolution = F.conv3d if len(kernel) == 3 else F.conv2d
        expected = F.relu(convolution(*parts, padding=1)).numpy()
        assert found.shape == expected.shape
        assert compare(found, expected).relative_l2 < 5e-6


def test_steps_read_frames_of_the_step_alone(tmp_path):
    """Without padding in time 6 frames give 4, and a pool after the layer reads its values."""
    model, _ = graph((3, 3, 3), (7, 7), pads=[0, 1, 1] * 2, pool=True)
    rewritten = rewrite(model, lambda layer: 4)
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 7, 7)).astype(np.float32)
    plain, ours = (run(each, tmp_path / "model.onnx", "openvino", x) for each in (model, rewritten))
    assert ours.shape == plain.shape == (1, 9, 4, 5, 5)
    assert compare(ours, plain).relative_l2 < 5e-6


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((3, 3), {"strides": [2, 2]}),
        ((3, 3), {"dilations": [2, 2]}),
        ((3, 3), {"pads": [0, 0, 0, 0]}),
        ((1, 1), {"pads": [0, 0, 0, 0]}),
        ((1, 3, 3), {"pads": [0, 1, 1] * 2}),
        ((3, 3, 3), {"pads": [1, 1, 1, 0, 1, 1]}),
    ],
)
def test_other_convolutions_stay(kernel, attributes):
    model, _ = graph(kernel, (8, 8), **attributes)
    assert rewrite(model, lambda layer: 4) is None


def test_choice_by_measurement():
    """3×3×3 layers with 32 channels or more at 14×14 or more."""
    assert choose_measured(Layer(64, 192, (56, 56), in_time=True)) == 4
    assert choose_measured(Layer(32, 64, (14, 14), in_time=True)) == 4
    assert choose_measured(Layer(24, 64, (14, 14), in_time=True)) is None
    assert choose_measured(Layer(160, 320, (7, 7), in_time=True)) is None
    assert choose_measured(Layer(128, 256, (14, 14))) is None


@pytest.fixture(scope="module")
def rewritten_bundle(tmp_path_factory):
    """The preset `array` with all 3×3×3 layers as F(4×4); measured choices would leave so small a network as it is."""
    path = tmp_path_factory.mktemp("winograd") / "array.infdet"
    with pytest.MonkeyPatch.context() as patch:
        for module in (write_stages, write):
            patch.setattr(module, "rewrite", partial(rewrite, choose=lambda layer: 4 if layer.in_time else None))
        precisions = ("float32", "float16")
        export_bundle(
            random_network(preset("array")),
            path,
            ExportOptions(precisions, formats=("onnx",), weights=False, winograd=True),
        )
    return load_bundle(path)


@pytest.mark.slow  # exports a bundle
def test_files(rewritten_bundle):
    """Only float32 towers have the second file; the others and the plain files stay as they are."""
    manifest = json.loads((rewritten_bundle.path / "manifest.json").read_text())
    for name, entry in (manifest["stages"] | manifest["stream"]["stages"]).items():
        expected = {"float32": f"{name}.float32.winograd.onnx"} if "tower" in name else None
        assert entry["files"].get(FIXED_SHAPES) == expected
        assert entry["files"]["onnx"] == {p: f"{name}.{p}.onnx" for p in ("float32", "float16")}
        if expected:
            assert manifest["parity"]["float32"][name]["winograd"] < 1e-5
    assert manifest["parity"]["float16"]["infrared_tower"].get("winograd") is None


@pytest.mark.slow  # exports a bundle
def test_second_clip_of_a_length(rewritten_bundle, monkeypatch):
    """It runs the Winograd graph, with the same features; another length runs the plain graph."""
    compiled = []
    compile_stage = OpenVino.compile

    def counted(self, source):
        compiled.append((source.path.name, dict(source.shapes or {})))
        return compile_stage(self, source)

    monkeypatch.setattr(OpenVino, "compile", counted)
    with Detector(rewritten_bundle) as detector:
        compiled.clear()
        clips = [sample_frames(length, rewritten_bundle.size, seed=1) for length in (40, 40, 40, 24, 40)]
        first, *others = [detector.features(clip)["infrared_features"] for clip in clips]
        detector.stages["infrared_tower"].release_memory()
        again = detector.features(clips[0])["infrared_features"]
    assert compiled == [("infrared_tower.float32.winograd.onnx", {"frames": (40, 32, 32)})]
    assert others[2].shape != first.shape
    for features in (others[0], others[1], others[3], again):
        assert 0 < compare(features, first).relative_l2 < 1e-5


@pytest.mark.slow  # exports a bundle
def test_changed_file_is_not_run(rewritten_bundle, monkeypatch):
    """A file that changed after the bundle was checked is not compiled; the plain graph goes on."""
    clip = sample_frames(48, rewritten_bundle.size, seed=2)
    with Detector(rewritten_bundle) as detector:
        path = rewritten_bundle.path / "infrared_tower.float32.winograd.onnx"
        content = path.read_bytes()
        try:
            path.write_bytes(b"changed")
            first, second = (detector.features(clip)["infrared_features"] for _ in range(2))
        finally:
            path.write_bytes(content)
    assert np.array_equal(first, second)


@pytest.mark.slow  # exports a bundle
def test_incremental(rewritten_bundle):
    """Steps run the Winograd graph, with the features of the whole clip."""
    clip = sample_frames(60, rewritten_bundle.size, seed=3)
    with StreamModel(rewritten_bundle) as model, Detector(rewritten_bundle) as detector:
        stream = model.stream()
        parts = [stream.push(clip)["infrared_features"], stream.flush()["infrared_features"]]
        assert compare(np.concatenate(parts), detector.features(clip)["infrared_features"]).relative_l2 < 1e-5


@pytest.mark.slow  # exports a bundle
def test_verify_compares_both_files(rewritten_bundle):
    rows = list(stage_parity(rewritten_bundle, golden_references(rewritten_bundle)))
    assert {row.stage for row in rows} == {"infrared_tower", "head", "infrared_tower_stream"}
    assert all(row.passed for row in rows)


def test_it_is_written_on_request_only(stream_bundle):
    assert not list(stream_bundle.glob("*winograd*"))
    for wrong in ({"conv2d": True}, {"precisions": ("float16",)}):
        with pytest.raises(UsageError, match="winograd is for float32 ONNX"):
            ExportOptions(winograd=True, **wrong)

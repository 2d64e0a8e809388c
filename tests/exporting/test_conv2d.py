"""The towers without 3D operators compared with the 3D towers."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
import torch.nn.functional as F

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES, Manifest, StageEntry
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.checks import check_2d, operators_3d
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.stages.build import TOWER_STARTS, build_stage
from infdet_deploy.exporting.stages.neighbours import temporal_taps
from infdet_deploy.exporting.stages.tower import LAYERS_2D, FoldedConv2d, FoldedConv3d, FoldedMixed, max_pool_2d
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.model.i3d import POOLS, Mixed, Unit3d
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network, save_network
from infdet_deploy.runtime.backends.registry import is_available, open_stage
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video.sample import sample_frames
from tests.runtime.backends.tensorrt.judge import built_for_rtx

FRAMES = (16, 20, 44, 100)
TOWERS = ("infrared_tower", "flow_tower")


@pytest.fixture(scope="module")
def references(tiny_network):
    return {t: eager_tensors(tiny_network, sample_frames(t, 64, seed=t)) for t in FRAMES}


TOWERS_2D = ExportOptions(("float32", "float16"), ("onnx",), incremental=False, weights=False, conv2d=True)


@pytest.fixture(scope="module")
def towers_2d(tmp_path_factory, tiny_network):
    """A bundle of the towers alone; the other stages are the same with and without 3D operators."""
    specs = {name: spec for name, spec in stage_specs(tiny_network).items() if name in TOWERS}
    folder = tmp_path_factory.mktemp("conv2d") / "2d.infdet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infdet_deploy.exporting.bundle_draft.stage_specs", lambda network: specs)
        export_bundle(tiny_network, folder, TOWERS_2D)
    return folder


def with_statistics(module):
    """Random batch norms, in eval mode."""
    generator = torch.Generator().manual_seed(1)
    for bn in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm3d)):
        bn.running_mean.normal_(generator=generator)
        bn.running_var.uniform_(0.5, 2, generator=generator)
        torch.nn.init.uniform_(bn.weight, 0.5, 2, generator=generator)
        torch.nn.init.normal_(bn.bias, generator=generator)
    return module.eval().requires_grad_(False)


def clip(channels, frames, dtype, side=8):
    """[T, C, 8, 8], at least 0 as after a ReLU."""
    x = torch.randn(frames, channels, side, side, generator=torch.Generator().manual_seed(frames), dtype=dtype)
    return F.relu(x)


def in_3d(module, x):
    """A module or function on [1, C, T, H, W] applied to [T, C, H, W]."""
    return module(x.transpose(0, 1)[None])[0].transpose(0, 1)


def relative(ours, reference):
    assert ours.shape == reference.shape
    return float((ours - reference).norm() / reference.norm())


PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5)]
# Lengths that occur: T/2 before the fourth pool, T/4 and then ⌈T/8⌉ after it.
MIDDLE, SHORT = (8, 10, 22), (1, 2, 3, 4, 5, 6, 11, 13)


@pytest.mark.parametrize(("dtype", "allowed"), PRECISIONS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_unit(kernel, dtype, allowed):
    unit = with_statistics(Unit3d(4, 5, kernel)).to(dtype)
    folded = FoldedConv3d(unit)
    for frames in (*MIDDLE, *SHORT):
        x = clip(4, frames, dtype)
        assert relative(FoldedConv2d(unit)(x), in_3d(folded, x)) <= allowed
        assert relative(FoldedConv2d(unit)(x), in_3d(unit, x)) <= allowed


@pytest.mark.parametrize(("dtype", "allowed"), PRECISIONS)
def test_an_inception_block(dtype, allowed):
    block = with_statistics(Mixed(4, (3, 2, 5, 2, 3, 4))).to(dtype)
    folded = FoldedMixed(block)
    for frames in (*MIDDLE, *SHORT):
        x = clip(4, frames, dtype, side=4)
        assert relative(FoldedMixed(block, layers=LAYERS_2D)(x), in_3d(folded, x)) <= allowed
        assert relative(FoldedMixed(block, layers=LAYERS_2D)(x), in_3d(block, x)) <= allowed


@pytest.mark.parametrize(("name", "lengths"), zip(POOLS, (MIDDLE, MIDDLE, MIDDLE, SHORT), strict=True))
def test_a_pool_between_blocks(name, lengths):
    for frames in lengths:
        x = clip(3, frames, torch.float32)
        expected = in_3d(lambda y: F.max_pool3d(y, *POOLS[name], ceil_mode=True), x)
        assert torch.equal(max_pool_2d(x, *POOLS[name]), expected)


def test_a_pool_inside_a_block():
    for frames in (*MIDDLE, *SHORT):
        x = clip(3, frames, torch.float32)
        expected = in_3d(lambda y: F.max_pool3d(y, 3, stride=1, padding=1), x)
        assert torch.equal(max_pool_2d(x, (3, 3, 3), (1, 1, 1), padding=1), expected)


def test_inputs_of_the_taps():
    x = torch.arange(1.0, 9).reshape(8, 1, 1, 1)
    seen = [tap.flatten().tolist() for tap in temporal_taps(x, 3)]
    assert seen == [[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8, 0]]
    seen = [tap.flatten().tolist() for tap in temporal_taps(x, 7, 2)]
    assert seen == [[0, 1, 3, 5], [0, 2, 4, 6], [1, 3, 5, 7], [2, 4, 6, 8], [3, 5, 7, 0], [4, 6, 8, 0], [5, 7, 0, 0]]
    assert [tap.flatten().tolist() for tap in temporal_taps(x[:5], 2, 2)] == [[1, 3, 5], [2, 4, 0]]


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("name", TOWERS)
def test_a_whole_tower(tiny_network, references, name, frames):
    stages = [build_stage(name, tiny_network, torch.float32, conv2d=conv2d) for conv2d in (False, True)]
    tensors = references[frames][name]
    x = torch.from_numpy(tensors[stage_specs(tiny_network)[name].inputs[0].name])
    in_3d, in_2d = (stage(x).numpy() for stage in stages)
    assert compare(in_2d, in_3d).relative_l2 <= 1e-5
    assert compare(in_2d, tensors["features"]).relative_l2 <= 1e-5
    parameters = [sum(p.numel() for p in stage.parameters()) for stage in stages]
    assert parameters[0] == parameters[1]


@pytest.mark.parametrize("start", TOWER_STARTS)
@pytest.mark.parametrize("name", TOWERS)
def test_where_float16_starts(tiny_network, references, name, start):
    twin, stage = (build_stage(name, tiny_network, torch.float16, {name: start}, conv2d) for conv2d in (False, True))
    assert {n: p.dtype for n, p in stage.named_parameters()} == {n: p.dtype for n, p in twin.named_parameters()}
    tensors = references[16][name]
    features = stage(torch.from_numpy(tensors[stage_specs(tiny_network)[name].inputs[0].name])).numpy()
    assert features.dtype == np.float32
    assert compare(features, tensors["features"]).relative_l2 <= 3e-2


def test_traced_for_every_length(tiny_network, references):
    stage = build_stage("infrared_tower", tiny_network, torch.float32, conv2d=True)
    frames = [torch.from_numpy(references[t]["infrared_tower"]["frames"]) for t in FRAMES]
    traced = torch.jit.trace(stage, frames[2], check_trace=False)
    for x in frames:
        assert compare(traced(x).numpy(), stage(x).numpy()).relative_l2 <= 1e-6


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("stage", TOWERS)
def test_exported_and_run(towers_2d, tiny_network, references, stage, backend, precision):
    if not is_available(backend):
        pytest.skip(f"{backend} is not installed")
    (tensor,) = stage_specs(tiny_network)[stage].inputs
    file = towers_2d / f"{stage}.{precision}.onnx"
    runner = open_stage(backend, file, precision, (tensor.name,), ("features",))
    twin = build_stage(stage, tiny_network, torch.float32)
    for frames, tensors in references.items():
        ours = runner.run(tensors[stage])["features"]
        assert ours.dtype == np.float32
        expected = twin(torch.from_numpy(tensors[stage][tensor.name])).numpy()
        assert compare(ours, expected).relative_l2 <= (1e-5 if precision == "float32" else 1e-2), frames
    runner.close()


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("stage", STAGES)
def test_no_3d_operators(tiny_bundle, towers_2d, stage, precision):
    file = (towers_2d if stage in TOWERS else tiny_bundle) / f"{stage}.{precision}.onnx"
    assert operators_3d(file) == []
    check_2d(stage, file)
    graph = onnx.load(str(file)).graph
    ranks = {len(i.dims) for i in graph.initializer if i.name.endswith("weight")}
    assert max(ranks) == (3 if stage == "head" else 4)
    windows = {len(a.ints) for node in graph.node for a in node.attribute if a.name == "kernel_shape"}
    assert windows <= {1, 2}


@pytest.mark.parametrize("stage", TOWERS)
def test_3d_operators_are_found(tiny_bundle, stage):
    file = tiny_bundle / f"{stage}.float32.onnx"
    found = operators_3d(file)
    assert sum(name.endswith("/Conv") for name in found) == 55  # the first two are over space alone
    with pytest.raises(
        ParityError, match=rf"{stage}: expected no 3D operator, but {len(found)} have tensors of rank 5"
    ):
        check_2d(stage, file)


def test_names_in_the_graphs_and_operators_in_the_manifest(tiny_bundle, towers_2d):
    names = {s: [n.name for n in onnx.load(str(towers_2d / f"{s}.float32.onnx")).graph.node] for s in TOWERS}
    for name in ("Mixed_4c/b1b/Conv", "Mixed_4c/b1b/Slice_3", "Mixed_4c/Max"):
        assert f"infrared_tower/{name}" in names["infrared_tower"]
    assert "flow_tower/Conv3d_1a_7x7/DepthToSpace" in names["flow_tower"]
    manifest = json.loads((towers_2d / "manifest.json").read_text())
    assert manifest["operators"] == "2d"
    for stage, convolutions in (("infrared_tower", 57), ("flow_tower", 56 + 16)):
        assert manifest["parity"]["float16"][stage]["operators"] == {"float16": convolutions}
    assert load_bundle(tiny_bundle).operators == "3d"
    older = json.loads((tiny_bundle / "manifest.json").read_text())
    del older["operators"]  # written before there were 2D towers
    assert Manifest.from_json(tiny_bundle, older).operators == "3d"


@pytest.mark.slow
def test_from_the_command_line(tmp_path, command):
    config = dataclasses.replace(preset("tiny"), channel_divisor=8, streams="infrared", fusion="none")
    network, clip = random_network(config, seed=3), sample_frames(100, 64, seed=100)
    save_network(tmp_path / "w.safetensors", network, config)
    words = ("--out", tmp_path / "w.infdet", "--conv2d", "--no-incremental", "--json")
    result = command("export", tmp_path / "w.safetensors", *words)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["operators"] == load_bundle(tmp_path / "w.infdet").operators == "2d"
    with Detector(tmp_path / "w.infdet") as detector:
        scores = detector.scores(clip)
    assert np.abs(scores - eager_tensors(network, clip)["head"]["scores"]).max() < 1e-5


class Planted(torch.nn.Module):
    """frames uint8 [T, S, S] → float32 [T, 1], through a 3D convolution."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 1, 1)

    def forward(self, frames):
        return self.conv(frames.float()[None, None])[0].mean((2, 3)).T


def test_a_planted_3d_operator_is_refused(tmp_path, monkeypatch, tiny_network):
    only = stage_specs(tiny_network)["infrared_tower"]
    monkeypatch.setattr("infdet_deploy.exporting.bundle_draft.stage_specs", lambda network: {"infrared_tower": only})
    monkeypatch.setattr("infdet_deploy.exporting.write_stages.build_stage", lambda *_: Planted().eval())
    with pytest.raises(ParityError, match=r"infrared_tower: expected no 3D operator, but \d+ have .* infrared_tower/"):
        export_bundle(tiny_network, tmp_path / "a.infdet", dataclasses.replace(TOWERS_2D, precisions=("float32",)))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_rank_is_refused(tmp_path):
    helper, file = onnx.helper, tmp_path / "a.onnx"
    value = helper.make_tensor_value_info
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="a/Reshape")
    inputs = [value("x", onnx.TensorProto.FLOAT, ["n"]), value("shape", onnx.TensorProto.INT64, ["m"])]
    graph = helper.make_graph([node], "a", inputs, [value("y", onnx.TensorProto.FLOAT, None)])
    onnx.save(helper.make_model(graph), str(file))
    assert operators_3d(file) == ["a/Reshape"]


@pytest.mark.parametrize("arch", ["sm75", "sm86", "sm89"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", TOWERS)
def test_tensorrt_rtx_builds_them(towers_2d, name, precision, arch):
    manifest = json.loads((towers_2d / "manifest.json").read_text())
    file = towers_2d / f"{name}.{precision}.onnx"
    inputs = StageEntry.from_json(manifest["stages"][name]).inputs
    built = built_for_rtx(file, inputs, arch)  # float32 on Turing too, unlike the 3D ones
    assert built.convolutions == {precision: 57 if name == "infrared_tower" else 56 + 16}

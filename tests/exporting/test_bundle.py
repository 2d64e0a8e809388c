"""Exported stages compared with the network on every backend, and exports that are refused."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.checks import check_precision
from infdet_deploy.exporting.onnx import export_onnx
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.stages.build import TowerStage
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.files import sha256
from infdet_deploy.runtime.backends.registry import get_backend, is_available, open_stage

FRAMES = (16, 20, 44, 100)
ALLOWED = {"float32": 1e-4, "float16": 1e-2}


@pytest.fixture(scope="module")
def references(tiny_network, tiny_clip):
    return {t: eager_tensors(tiny_network, tiny_clip(t)) for t in FRAMES}


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torchscript"])
@pytest.mark.parametrize("stage", STAGES)
def test_stage_equals_the_network_at_every_length(tiny_bundle, references, stage, backend, precision):
    if not is_available(backend):
        pytest.skip(f"{backend} is not installed")
    bundle = load_bundle(tiny_bundle)
    spec = bundle.entry(stage)
    inputs, (output,) = spec.input_names, spec.output_names
    runner = open_stage(
        backend,
        bundle.stage_file(stage, precision, get_backend(backend).capabilities.format),
        precision,
        inputs,
        (output,),
    )
    allowed = 3e-2 if (backend, precision) == ("torchscript", "float16") else ALLOWED[precision]
    for frames, tensors in references.items():
        ours = runner.run(tensors[stage])[output]
        assert ours.dtype == np.float32
        assert ours.shape == tensors[stage][output].shape
        assert compare(ours, tensors[stage][output]).relative_l2 <= allowed, frames
    runner.close()


def test_a_float32_graph_called_float16_is_refused(tiny_bundle):
    for stage in STAGES:
        with pytest.raises(ParityError, match=f"{stage}: the graph called float16 computes in"):
            check_precision(stage, tiny_bundle / f"{stage}.float32.onnx", "float16")
        with pytest.raises(ParityError, match="called float32"):
            check_precision(stage, tiny_bundle / f"{stage}.float16.onnx", "float32")


@pytest.mark.parametrize("stage", STAGES)
def test_float16_graphs_have_float16_weights(tiny_bundle, stage):
    graph = onnx.load(str(tiny_bundle / f"{stage}.float16.onnx")).graph
    weights = [i for i in graph.initializer if i.name.endswith(("weight", "bias")) or i.name.startswith("kernels")]
    assert len(weights) >= 15
    assert {i.data_type for i in weights} == {onnx.TensorProto.FLOAT16}
    sizes = [(tiny_bundle / f"{stage}.{p}.onnx").stat().st_size for p in ("float16", "float32")]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_names_inside_the_graphs(tiny_bundle, precision):
    names = {}
    for stage in STAGES:
        model = onnx.load(str(tiny_bundle / f"{stage}.{precision}.onnx"))
        names[stage] = [node.name for node in model.graph.node]
        assert len(set(names[stage])) == len(names[stage])
        assert all(name.startswith(f"{stage}/") for name in names[stage])
        assert b"/site-packages/" not in model.SerializeToString()
    assert "infrared_tower/Mixed_4c/b1b/Conv" in names["infrared_tower"]
    assert "flow_tower/Conv3d_1a_7x7/Conv" in names["flow_tower"]
    assert "fen/conv1/Conv" in names["fen"]
    assert "head/fusion/conv1/Conv" in names["head"]


def test_one_graph_for_every_length(tiny_bundle):
    dims = {}
    for stage in STAGES:
        graph = onnx.load(str(tiny_bundle / f"{stage}.float32.onnx"), load_external_data=False).graph
        for value in (*graph.input, *graph.output):
            shape = value.type.tensor_type.shape.dim
            dims[stage, value.name] = [d.dim_param or d.dim_value for d in shape]
    assert dims["fen", "frames"] == ["T+1", 64, 64]
    assert dims["flow_tower", "flow"] == ["T", 3, 16, 16]
    assert dims["infrared_tower", "features"] == ["T'", 128]
    assert dims["head", "scores"] == ["T'", 3]
    assert dims["head", "length"] == [1]


def test_a_graph_of_one_length_is_refused(tmp_path, tiny_network):
    class OneLength(torch.nn.Module):
        def forward(self, frames):
            return frames.float().reshape(4, -1).mean(1, keepdim=True)  # 4 rows of any clip

    example = (torch.zeros(32, 64, 64, dtype=torch.uint8),)
    with pytest.raises(ParityError, match="infrared_tower: features is as long as the example, not as the clip"):
        export_onnx("infrared_tower", OneLength(), stage_specs(tiny_network)["infrared_tower"], example, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_manifest_describes_the_folder(tiny_bundle):
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    files = {p.name for p in tiny_bundle.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == files
    assert len(files) == 4 * 2 * 2 + 2  # the weights and the golden clip
    for name, entry in manifest["files"].items():
        assert entry == {"bytes": (tiny_bundle / name).stat().st_size, "sha256": sha256(tiny_bundle / name)}
    assert manifest["rule"]["thresholds"] == [0.45, 0.5, 0.55]
    for precision, stages in manifest["parity"].items():
        assert set(stages) == set(STAGES)
        assert all(stage["onnx"] <= ALLOWED[precision] for stage in stages.values())


def test_a_wrong_stage_is_not_written(tmp_path, monkeypatch, tiny_network):
    right = TowerStage.forward
    monkeypatch.setattr(TowerStage, "forward", lambda self, frames: right(self, frames) * 1.01)
    old = tmp_path / "old.infdet"
    old.mkdir()
    (old / "manifest.json").write_text("kept")
    for out in (tmp_path / "new.infdet", old):
        with pytest.raises(ParityError, match=r"infrared_tower float32 torchscript: relative L2 1\.00e-02"):
            export_bundle(tiny_network, out, ExportOptions(formats=("torchscript",), incremental=False))
    assert [p.name for p in tmp_path.iterdir()] == ["old.infdet"]
    assert [(p.name, p.read_text()) for p in old.iterdir()] == [("manifest.json", "kept")]


def test_an_inaccurate_tower_keeps_its_first_layers_in_float32(tmp_path, monkeypatch, tiny_network):
    allowed = iter([0.0, 1e-2])  # the first attempt is out of tolerance
    only = stage_specs(tiny_network)["flow_tower"]
    monkeypatch.setattr("infdet_deploy.exporting.bundle_draft.stage_specs", lambda network: {"flow_tower": only})
    monkeypatch.setattr("infdet_deploy.exporting.checks.tolerance", lambda format, precision: next(allowed))
    out = export_bundle(tiny_network, tmp_path / "a.infdet", ExportOptions(("float16",), ("onnx",), incremental=False))
    entry = json.loads((out / "manifest.json").read_text())["parity"]["float16"]["flow_tower"]
    assert entry["float32_before"] == "MaxPool3d_2a_3x3"
    assert entry["operators"] == {"float32": 16, "float16": 56}  # the stem is 16 small convolutions
    assert entry["onnx"] < 1e-2


def test_a_graph_that_no_reader_would_accept_is_not_written(tmp_path):
    from onnx import helper

    from infdet_deploy.exporting.bundle_draft import seal

    graph = helper.make_graph([helper.make_node("LoopOfANewExporter", ["x"], ["y"])], "g", [], [])
    onnx.save(helper.make_model(graph), str(tmp_path / "fen.float32.onnx"))
    with pytest.raises(
        ParityError, match=r"fen\.float32\.onnx uses the operator 'LoopOfANewExporter'.*refusing to write"
    ):
        seal(tmp_path, {})
    assert [file.name for file in tmp_path.iterdir()] == ["fen.float32.onnx"]

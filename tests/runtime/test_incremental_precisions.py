"""Incremental towers in bfloat16, float16 and int8 compared with the network."""

import dataclasses
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.manifest import read_manifest
from infdet_deploy.bundle.schema import Incremental, Manifest, Preprocessing
from infdet_deploy.bundle.tolerances import compare, tolerance
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.checks import operators_3d
from infdet_deploy.exporting.incremental.write import write_incremental
from infdet_deploy.exporting.int8.quantization import calibrate
from infdet_deploy.exporting.int8.stage import Int8Stage
from infdet_deploy.exporting.int8.write_incremental import write_int8_incremental
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.model.i3d import MIXED
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.video.sample import sample_frames
from tests.conftest import INT8_KEPT
from tests.runtime.backends.tensorrt.judge import built_for_rtx

TOWER, STEPS = "infrared_tower", "infrared_tower_stream"
CLIPS = (20, 64)


def draft_of(network, folder, manifest, checks=()):
    """A draft with the tower alone."""
    return Draft(folder, network, ExportOptions(), {TOWER: stage_specs(network)[TOWER]}, list(checks), manifest)


@pytest.fixture(scope="module")
def clips():
    config = dataclasses.replace(preset("tiny"), channel_divisor=8, streams="infrared", fusion="self")
    network = random_network(config, seed=5)
    return network, [eager_tensors(network, sample_frames(t, 64, seed=t)) for t in CLIPS]


@pytest.fixture(scope="module")
def int8(int8_stream_bundle):
    return load_bundle(int8_stream_bundle)


@pytest.fixture(scope="module")
def halves(tmp_path_factory, clips):
    """The same incremental tower in bfloat16 and float16, alone."""
    network, checks = clips
    folder = tmp_path_factory.mktemp("precisions")
    manifest = {"stages": {TOWER: {}}, "parity": {"bfloat16": {}, "float16": {}}}
    draft = draft_of(network, folder, manifest, checks)
    draft.starts = {"bfloat16": {}, "float16": {}}
    write_incremental(draft)
    stream = Incremental.from_json(manifest["stream"])
    pictures, rule = Preprocessing(64, "resize", None), DetectionRule((0.5,), (0.0,))
    return Bundle(folder, Manifest(
        "halves", "", {}, "3d", {}, "detection", "infrared", pictures, ("a",), rule, {}, stream, {}, {}
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("openvino", "bfloat16"),
        *((backend, precision) for backend in ("openvino", "onnxruntime") for precision in ("float16", "int8")),
    ],
)
def test_features_of_the_whole_clip(request, halves, clips, backend, precision):
    bundle = request.getfixturevalue("int8") if precision == "int8" else halves
    with StreamModel(bundle, backend, precision, step_frames=16) as model:
        for tensors in clips[1]:
            stream, frames = model.stream(), tensors[TOWER]["frames"]
            parts = [stream.push(frames[at : at + 13]) for at in range(0, len(frames), 13)] + [stream.flush()]
            ours = np.concatenate([part["infrared_features"] for part in parts])
            error = compare(ours, tensors[TOWER]["features"]).relative_l2
            assert 1e-5 < error <= tolerance("onnx", precision)  # below, it were float32


def test_int8_incremental_tower_equals_the_int8_tower(int8):
    assert set(int8.precisions) == {"float32", "int8"}
    entry = read_manifest(int8.path)["parity"]["int8"][STEPS]
    assert (entry["operators"], entry["operators_openvino"]) == ({"int8": 56, "float32": 1}, {"int8": 57})
    assert entry["float32_layers"] == {"onnx": [INT8_KEPT.replace(TOWER, STEPS)], "openvino": []}
    assert max(entry["onnx"], entry["openvino"]) <= 5e-2
    # the same scales: what is left are values that lie between two steps, which the two graphs round apart
    assert entry["from_whole"]["onnx"] <= 1e-2
    assert entry["from_whole"]["openvino"] <= 1e-6


def test_only_openvino_int8_incremental_towers_have_3d_operators(int8):
    convolutions = {}
    for form in ("onnx", "openvino"):
        graph = onnx.load(str(int8.stage_file(STEPS, "int8", form))).graph
        ranks = {i.name: len(i.dims) for i in graph.initializer}
        weights = {node.output[0]: ranks[node.input[0]] for node in graph.node if node.name.endswith("DequantizeLinear")
                   and node.input[0] in ranks} | ranks  # fmt: skip
        convolutions[form] = {n.name: weights[n.input[1]] for n in graph.node if n.op_type == "Conv"}
    over_time = [f"{block}/{branch}" for block in MIXED for branch in ("b1b", "b2b")]
    expected = {f"{STEPS}/{layer}/Conv" for layer in ("Conv3d_2c_3x3", *over_time)}
    assert {name for name, rank in convolutions["openvino"].items() if rank == 5} == expected
    assert set(convolutions["onnx"].values()) == {4}
    assert list(convolutions["onnx"]) == list(convolutions["openvino"])  # what stays in float32 goes by these names
    assert {n.op_type for n in graph.node} & {"Max", "MaxPool"} == {"MaxPool"}  # nor a maximum of shifted copies


def calibrated(int8):
    return calibrate(onnx.load(str(int8.stage_file(TOWER, "float32"))), [{"frames": sample_frames(64, 64, seed=1)}])


def written_again(int8, folder, clips, calibrated, **changes):
    """The int8 steps of a calibrated tower, beside copies of what they are made from."""
    network, checks = clips
    for name in (f"{STEPS}.float32.onnx", f"{TOWER}.int8.onnx", f"{TOWER}.int8.openvino.onnx"):
        shutil.copy(int8.path / name, folder)
    stage = Int8Stage(calibrated, (), [check[TOWER] for check in checks], {"onnx": [], "openvino": []})
    manifest = read_manifest(int8.path) | changes
    write_int8_incremental(draft_of(network, folder, manifest), {TOWER: stage})


def test_int8_incremental_towers_of_a_2d_bundle_are_2d(int8, tmp_path, clips):
    written_again(int8, tmp_path, clips, calibrated(int8), operators="2d")
    assert operators_3d(tmp_path / f"{STEPS}.int8.openvino.onnx") == []


def test_wrong_int8_incremental_towers_are_refused(int8, tmp_path, clips):
    right = calibrated(int8)
    wrong = dataclasses.replace(right, scales={name: 0.1 * scale for name, scale in right.scales.items()})
    with pytest.raises(ParityError, match=f"{STEPS} int8: relative L2 .* on onnxruntime, allowed 5e-02"):
        written_again(int8, tmp_path, clips, wrong)


def test_tensorrt_rtx_builds_int8_incremental_towers(int8):
    built = built_for_rtx(int8.stage_file(STEPS, "int8"), int8.entry(STEPS).inputs)
    assert built.convolutions == {"int8": 56, "float32": 1}

"""All stages joined in one graph, and stages in bfloat16."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from infdet_deploy.bundle.loading import NETWORK, load_bundle
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.checks import count_precisions
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.stages.build import build_stage, float32_operators
from infdet_deploy.exporting.tensors import eager_tensors
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.compiled_stages import open_bundle_stage
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video.sample import sample_frames
from tests.runtime.backends.tensorrt.judge import built_for_rtx


def small(**changes: object):
    return random_network(dataclasses.replace(preset("tiny"), channel_divisor=8, **changes), seed=3)


@pytest.fixture(scope="module")
def network():
    return small(flow_stride=2)


@pytest.fixture(scope="module")
def bundle(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("joined") / "a.infdet"
    options = ExportOptions(("float32", "bfloat16"), formats=("onnx",), incremental=False, whole_network=True)
    return load_bundle(export_bundle(network, out, options))


@pytest.mark.parametrize(
    "changes", [{}, {"streams": "infrared", "fusion": "none"}, {"streams": "flow", "fusion": "none", "flow_stride": 1}]
)
def test_joined_stages_compute_the_networks_scores(changes):
    network = small(**changes)
    stage = build_stage(NETWORK, network, torch.float32)
    for frames in (16, 44):
        clip = sample_frames(frames, 64, seed=frames)
        expected = eager_tensors(network, clip)["head"]["scores"]
        assert np.abs(stage(torch.from_numpy(clip)).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_one_graph_of_frames_and_scores(bundle, network, backend):
    runner = open_bundle_stage(bundle, NETWORK, backend, "float32")
    assert (runner.inputs, runner.outputs) == (("frames",), ("scores",))
    for frames in (16, 20, 100):
        clip = sample_frames(frames, 64, seed=frames)
        expected = eager_tensors(network, clip)["head"]["scores"]
        assert np.abs(runner.run({"frames": clip})["scores"] - expected).max() < 1e-5
    runner.close()


def test_node_names_contain_stage_and_module(bundle):
    graph = onnx.load(str(bundle.stage_file(NETWORK, "float32"))).graph
    names = {node.name for node in graph.node}
    assert len(names) == len(graph.node)
    assert {f"network/{stage}/Mixed_4c/b1b/Conv" for stage in ("infrared_tower", "flow_tower")} <= names
    assert "network/fen/conv1/Conv" in names
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["T", 64, 64]


def test_the_joined_graph_is_not_in_the_pipeline(bundle):
    assert NETWORK in bundle.manifest.stages
    assert NETWORK not in bundle.stages
    with Detector(bundle) as detector:
        assert NETWORK not in detector.stages


def test_bfloat16_graphs_have_few_float32_operators(bundle, network):
    for stage in bundle.manifest.stages:
        counts = count_precisions(bundle.stage_file(stage, "bfloat16"))
        assert counts.get("float32", 0) == float32_operators(stage, network)
        assert counts["bfloat16"] > 10
    head = onnx.load(str(bundle.stage_file("head", "bfloat16"))).graph
    assert {i.data_type for i in head.initializer if i.name.endswith("weight")} == {onnx.TensorProto.BFLOAT16}


def test_bfloat16_runs_where_it_is_supported(bundle, network):
    clip = sample_frames(100, 64, seed=5)
    expected = eager_tensors(network, clip)
    with Detector(bundle, precision="bfloat16") as detector:
        features = detector.features(clip)
        assert np.abs(detector.scores(clip) - expected["head"]["scores"]).max() < 3e-2
    for name, found in features.items():
        error = compare(found, expected["head"][name]).relative_l2
        assert 1e-4 < error < 5e-2  # only the rounding to eight bits
    with pytest.raises(UsageError, match="onnxruntime supports float32, float16, int8, not bfloat16"):
        Detector(bundle, "onnxruntime", "bfloat16")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [*STAGES, NETWORK])
def test_tensorrt_rtx_builds_each(bundle, stage, precision):
    if (stage in ("fen", NETWORK)) and precision == "bfloat16":
        with pytest.raises(BackendError, match=r"fen/deconvs/0/ConvTranspose"):  # it has none in bfloat16
            built_for_rtx(bundle.stage_file(stage, precision), bundle.entry(stage).inputs)
        return
    built = built_for_rtx(bundle.stage_file(stage, precision), bundle.entry(stage).inputs)
    assert built.convolutions == {
        precision: {"fen": 16, "head": 8, "flow_tower": 56 + 25, NETWORK: 137 + 25}.get(stage, 57)
    }

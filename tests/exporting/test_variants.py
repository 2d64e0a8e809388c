"""Networks with one stream or another fusion: exported and run like the published one."""

import dataclasses

import numpy as np
import pytest
import torch

from infdet_deploy.bundle.schema import STAGES_OF
from infdet_deploy.errors import UsageError
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.stages.build import build_stage
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.model.fusion import Attention
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video.sample import sample_frames

TINY = dataclasses.replace(preset("tiny"), channel_divisor=8)
FUSIONS = [("both", f) for f in ("cross", "self", "late", "min", "max", "concat")]
SINGLE = [("infrared", "none"), ("infrared", "self"), ("flow", "none")]


def network_of(streams: str, fusion: str, flow: str = "fen"):
    """Random weights with an active attention."""
    config = dataclasses.replace(TINY, streams=streams, fusion=fusion, flow=flow)
    found = random_network(config, seed=3)
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, Attention):
                module.gamma.fill_(0.7)
    return found


@pytest.mark.parametrize(("streams", "fusion"), [*FUSIONS, *SINGLE])
def test_the_head_equals_the_network(streams, fusion):
    network = network_of(streams, fusion)
    for frames in (40, 100):
        tensors = eager_tensors(network, sample_frames(frames, 64, seed=frames))["head"]
        spec = stage_specs(network)["head"]
        feeds = [torch.from_numpy(tensors[tensor.name]) for tensor in spec.inputs]
        for dtype, allowed in ((torch.float32, 1e-6), (torch.float16, 2e-3)):
            scores = build_stage("head", network, dtype)(*feeds).numpy()
            assert scores.dtype == np.float32
            assert np.abs(scores - tensors["scores"]).max() < allowed


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "fusion"), [("infrared", "self"), ("flow", "none"), ("both", "late")])
def test_bundles_equal_the_network(tmp_path, streams, fusion):
    network = network_of(streams, fusion)
    precisions = ("float32", "float16") if fusion == "self" else ("float32",)
    options = ExportOptions(precisions, formats=("onnx",), incremental=False)
    bundle = export_bundle(network, tmp_path / "a.infdet", options)
    frames = sample_frames(100, 64, seed=5)
    expected = eager_tensors(network, frames)["head"]["scores"]
    for precision, allowed in zip(precisions, (1e-5, 5e-3), strict=False):
        with Detector(bundle, precision=precision) as detector:
            assert tuple(detector.stages) == STAGES_OF[streams]
            assert np.abs(detector.scores(frames) - expected).max() < allowed


def test_tvl1_is_not_exported(tmp_path):
    with pytest.raises(UsageError, match="TV-L1 flow"):
        export_bundle(network_of("both", "sca", "tvl1"), tmp_path / "a.infdet")
    assert not list(tmp_path.iterdir())

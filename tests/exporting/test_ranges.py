"""Where values are too large for float16."""

import dataclasses
import json

import pytest
import torch

from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.float16_ranges import first_endpoint, measure, too_large
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.stages.build import build_stage
from infdet_deploy.exporting.tensors import stage_specs
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.video.sample import sample_frames

FLOAT16 = ExportOptions(("float16",), formats=("onnx",), incremental=False)


@pytest.fixture
def network(monkeypatch):
    found = random_network(
        dataclasses.replace(preset("tiny"), channel_divisor=8, streams="infrared", fusion="none"), seed=3
    )
    only = {"infrared_tower": stage_specs(found)["infrared_tower"]}
    monkeypatch.setattr("infdet_deploy.exporting.bundle_draft.stage_specs", lambda network: only)
    return found


def grow(network, unit: str, factor: float) -> None:
    """Scale the output of a unit of the tower."""
    bn = network.infrared_tower.get_submodule(unit).bn
    with torch.no_grad():
        bn.weight *= factor
        bn.bias *= factor


def test_ranges_are_the_largest_outputs_and_weights(network):
    stage = build_stage("infrared_tower", network, torch.float32)
    clips = [torch.from_numpy(sample_frames(t, 64, seed=t)) for t in (16, 44)]
    ranges = measure(stage, [(clip,) for clip in clips])
    assert list(ranges)[:3] == ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"]
    assert len(ranges) == 57
    with torch.inference_mode():
        first = [float(stage.tower.Conv3d_1a_7x7(c.float()[:, None]).max()) for c in clips]
        first.append(float(stage.tower.Conv3d_1a_7x7.bias.abs().max()))
    assert ranges["Conv3d_1a_7x7"] == pytest.approx(max(first))
    assert not stage.tower.Conv3d_1a_7x7._forward_hooks
    with torch.no_grad():
        stage.tower.Mixed_3b.b0.weight[0, 0] = -70000
    assert measure(stage, [])["Mixed_3b/b0"] == 70000


def test_values_too_large_for_float16():
    assert too_large({"a": 16376.0, "b": 16377.0, "c": float("nan"), "d": float("inf")}) == ["b", "c", "d"]
    assert first_endpoint({"Conv3d_1a_7x7": 1.0}) == "Conv3d_1a_7x7"
    assert first_endpoint({"Conv3d_2c_3x3": 1e5, "Mixed_4c/b1b": 1e5}) == "Mixed_4e"
    assert first_endpoint({"Conv3d_2b_1x1": 1e5}) == "MaxPool3d_3a_3x3"
    assert first_endpoint({"Mixed_5b/b0": 1e5}) is None
    assert first_endpoint({"Mixed_5c/b0": 1e5}) is None


def test_layers_up_to_the_one_that_overflows_stay_float32(network, tmp_path):
    grow(network, "Conv3d_2b_1x1", 1e6)
    with torch.no_grad():
        network.infrared_tower.Conv3d_2c_3x3.conv3d.weight /= 1e6
    out = export_bundle(network, tmp_path / "a.infdet", FLOAT16)
    manifest = json.loads((out / "manifest.json").read_text())
    entry = manifest["parity"]["float16"]["infrared_tower"]
    assert entry["float32_before"] == "MaxPool3d_3a_3x3"
    assert entry["operators"] == {"float32": 3, "float16": 54}
    assert entry["onnx"] < 1e-2
    assert manifest["ranges"]["infrared_tower"]["Conv3d_2b_1x1"] > 65504


def test_too_large_values_at_the_end_are_refused_with_the_module(network, tmp_path):
    grow(network, "Mixed_5c.b1b", 1e7)
    with pytest.raises(ParityError, match=r"infrared_tower float16: Mixed_5c/b1b has values up to .*without float16"):
        export_bundle(network, tmp_path / "a.infdet", FLOAT16)
    assert not list(tmp_path.iterdir())

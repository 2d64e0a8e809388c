"""A network of the published size and width: export, speed measurement and detection.

It has one stream: the flow tower is as large, and stages run one after the other, so the peak memory is the same.
"""

import json

import pytest

pytest.importorskip("torch")

from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network
from tests.paths import LEPTON

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]  # a busy machine is no failure

BENCH = ("--frames", 32, "--runs", 1, "--precision", "float32", "--json")
STAGE_NAMES = {"fen", "infrared_tower", "flow_tower", "head", "detections"}


def test_export_bench_and_detect(command, tmp_path):
    options = ExportOptions(formats=("onnx",), incremental=False, weights=False)
    network = random_network(ModelConfig(streams="infrared", fusion="self"))
    bundle = export_bundle(network, tmp_path / "a.infdet", options)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["preprocessing"]["size"] == 224
    assert all(entry["onnx"] <= 1e-4 for entry in manifest["parity"]["float32"].values())
    result = command("bench", bundle, *BENCH, timeout_s=None)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["contenders"]
    assert row["peak_memory_mb"] < 4096
    if not LEPTON.is_file():
        pytest.skip(f"no thermal recording at {LEPTON}")
    result = command("detect", bundle, LEPTON, "--json", timeout_s=None)
    assert result.returncode == 0, result.stderr
    (video,) = json.loads(result.stdout)["videos"]
    assert video["frames"] == 100
    assert 0 < video["highest_score"] < 1


def test_bench_of_a_preset_with_random_weights(command, tmp_path):
    result = command("bench", "--preset", "tiny", *BENCH, timeout_s=None)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["frames"], report["runs"], report["network"]["channel_divisor"]) == (32, 1, 4)
    (row,) = report["contenders"]
    assert (row["backend"], row["precision"]) == ("openvino", "float32")
    assert set(row["stages_ms"]) == STAGE_NAMES
    assert row["frames_per_s"]["median"] == pytest.approx(32_000 / row["latency_ms"]["median"], rel=1e-6)
    assert sum(row["stages_ms"].values()) == pytest.approx(row["latency_ms"]["median"], rel=0.02)
    assert (tmp_path / "cache" / "infdet-deploy" / "tiny-random-3.infdet" / "manifest.json").is_file()

"""The network at its published size: export, speed measurement and detection in bounded memory."""

import json

import pytest

from tests.paths import LEPTON

pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]  # a busy machine is no failure

RECORDING = LEPTON
STAGE_NAMES = {"fen", "infrared_tower", "flow_tower", "head", "detections"}


def test_bench_and_detect_with_seeded_random_weights(command, tmp_path):
    result = command(
        "bench", "--preset", "infdet", "--frames", 32, "--runs", 1, "--precision", "float32", "--json", timeout_s=None
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["frames"] == 32
    assert report["runs"] == 1
    assert report["network"]["channel_divisor"] == 1
    (row,) = report["contenders"]
    assert row["peak_memory_mb"] < 4096
    assert (row["backend"], row["precision"]) == ("openvino", "float32")
    assert set(row["stages_ms"]) == STAGE_NAMES
    assert row["frames_per_s"]["median"] == pytest.approx(32_000 / row["latency_ms"]["median"], rel=1e-6)
    assert sum(row["stages_ms"].values()) == pytest.approx(row["latency_ms"]["median"], rel=0.02)

    bundle = tmp_path / "cache" / "infdet-deploy" / "infdet-random-3.infdet"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert all(entry["onnx"] <= 1e-4 for entry in manifest["parity"]["float32"].values())
    if not RECORDING.is_file():
        pytest.skip(f"no thermal recording at {RECORDING}")
    result = command("detect", bundle, RECORDING, "--json", timeout_s=None)
    assert result.returncode == 0, result.stderr
    (video,) = json.loads(result.stdout)["videos"]
    assert video["frames"] == 100
    assert 0 < video["highest_score"] < 1

"""The gain of each rewrite: side by side, with outputs that agree."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("openvino")

from infdet_deploy.benchmarks import rewrites
from infdet_deploy.benchmarks import without_rewrites as undone
from infdet_deploy.benchmarks.bench import bench
from infdet_deploy.benchmarks.rewrites import WARM_UP_RUNS, measure_rewrites
from infdet_deploy.benchmarks.tables import tables
from infdet_deploy.bundle.loading import WEIGHTS
from infdet_deploy.errors import UsageError


def test_a_rewrite_beside_the_stage_as_exported(tiny_bundle, monkeypatch):
    """The FEN's: every other goes the same way and takes longer to export; `test_undone` compares them all."""
    monkeypatch.setattr(undone, "REWRITES", [one for one in undone.REWRITES if one.stage == "fen"])
    monkeypatch.setattr(rewrites, "in_processes", lambda work, jobs, _: enumerate(work(*job) for job in jobs))
    steps = []
    rows = measure_rewrites(tiny_bundle / WEIGHTS, None, ["float32"], 18, 3, lambda *step: steps.append(step))
    assert steps == [(i + 1, WARM_UP_RUNS + 3, "rewrites of fen") for i in range(WARM_UP_RUNS + 3)]
    (row,) = rows
    assert (row["rewrite"], row["stage"]) == ("one channel, scaled by the weights", "fen")
    assert row["relative_l2"] <= 1e-5
    assert 0 < row["low"] <= row["ratio"] <= row["high"]
    assert row["coverage"] == 0.75
    assert row["cpu_ratio"] > 0
    assert min(row["exported_ms"], row["undone_ms"]) > 0
    # The first layer alone: 6 channels instead of 2, 7×7, 16 filters, on 8×8 for each of 16 pairs.
    assert row["multiply_adds_undone"] - row["multiply_adds"] == 16 * (6 - 2) * 49 * 16 * 8 * 8
    (found,) = [table for table in tables({"contenders": [], "rewrites": rows}) if table.title == "Rewrites"]
    assert found.rows[0][:3] == ["one channel, scaled by the weights", "fen", "float32"]
    assert "75 % interval" in found.note


def test_only_what_is_exported_from_the_network(tiny_bundle):
    arguments = {"preset_name": None, "frames": 16, "runs": 1, "backends": "openvino", "rewrites": True}
    with pytest.raises(UsageError, match="openvino in float32 and bfloat16, of which none"):
        bench(tiny_bundle, precisions="float16", **arguments)

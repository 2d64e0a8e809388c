"""Time of incremental towers compared with whole clips, and its table."""

import pytest

from infdet_deploy.benchmarks import steps
from infdet_deploy.benchmarks.contenders import contenders
from infdet_deploy.benchmarks.tables import _steps as step_table
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.runtime.backends.contender import Contender


@pytest.fixture(scope="module")
def bundle(stream_bundle):
    return load_bundle(stream_bundle)


def test_step_times(bundle, monkeypatch):
    monkeypatch.setattr(steps, "MIN_RUNS", 2)
    found = steps.measure_steps(bundle, Contender("openvino", "float32"), runs=1, step_frames=16)
    assert (found.contender, found.step_frames, found.delay_frames) == ("openvino float32", 16, 48)
    assert found.cost == pytest.approx(found.frame_ms.median / found.offline_frame_ms.median)
    # a step's 16 frames cost 16 times a frame, in the mean and about so in the median
    assert found.step_ms.min <= 16 * found.frame_ms.median <= found.step_ms.max
    assert found.processor_cost > 0
    stages = bundle.incremental.state_bytes.values()
    assert found.state_mb == pytest.approx((sum(stages) + 17 * bundle.size**2) / 1e6)
    table = step_table([found])
    assert len(table.rows[0]) == len(table.columns)
    assert table.rows[0][-1] == "48"


def test_contenders_with_incremental_towers(bundle, tiny_bundle):
    assert [one.name for one in steps.in_steps(bundle, contenders(bundle))] == ["openvino float32"]
    assert steps.in_steps(bundle, [Contender("torchscript", "float32"), Contender("openvino", "int8")]) == []
    whole = load_bundle(tiny_bundle)
    assert steps.in_steps(whole, contenders(whole)) == []

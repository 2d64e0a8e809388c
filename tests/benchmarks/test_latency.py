"""The speed report: which contenders take part, and that its numbers agree with each other."""

import pytest

from infdet_deploy.benchmarks.latency import WARM_UP_RUNS, Contender, contenders, measure
from infdet_deploy.errors import UsageError
from infdet_deploy.runtime.bundle import STAGES, load_bundle


def test_contenders(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    assert contenders(bundle) == [Contender("openvino", "float32"), Contender("openvino", "float16")]
    assert contenders(bundle, "torchscript", "float16") == [Contender("torchscript", "float16")]
    assert len(contenders(bundle, "all", "float32")) in (1, 2, 3)
    with pytest.raises(UsageError, match="no backend 'cuda'"):
        contenders(bundle, "openvino,cuda")
    with pytest.raises(UsageError, match="has no int8 for openvino; it has float32, float16"):
        contenders(bundle, "openvino", "int8")


def test_report(tiny_bundle):
    bundle, steps = load_bundle(tiny_bundle), []
    report = measure(bundle, contenders(bundle), 32, 3, lambda done, total: steps.append((done, total)))
    assert steps == [(i + 1, 2 * (WARM_UP_RUNS + 3)) for i in range(2 * (WARM_UP_RUNS + 3))]
    assert (report["bundle"], report["frames"], report["runs"]) == ("tiny", 32, 3)
    assert report["network"]["size"] == 64
    assert report["peak_memory_mb"] > 50
    assert [row["precision"] for row in report["contenders"]] == ["float32", "float16"]
    for row in report["contenders"]:
        ms, rate = row["latency_ms"], row["frames_per_s"]
        assert 0 < ms["min"] <= ms["p10"] <= ms["median"] <= ms["p90"] <= ms["p99"] <= ms["max"]
        assert rate["median"] == pytest.approx(32_000 / ms["median"])
        assert rate["max"] == pytest.approx(32_000 / ms["min"])
        assert row["real_time_factor"] == pytest.approx(rate["median"] / 25)
        assert set(row["stages_ms"]) == {*STAGES, "detections"}
        assert all(value > 0 for value in row["stages_ms"].values())


@pytest.mark.parametrize(("frames", "runs", "named"), [(15, 1, "--frames is 15"), (16, 0, "--runs is 0")])
def test_refused(tiny_bundle, frames, runs, named):
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(UsageError, match=named):
        measure(bundle, contenders(bundle), frames, runs)

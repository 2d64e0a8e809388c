"""The speed report: contenders in processes of their own, figures that agree with each other, and what goes wrong."""

import json
import os
import signal

import numpy as np
import pytest

from infdet_deploy.benchmarks import eager, roofline, workers
from infdet_deploy.benchmarks.comparison import compare_reports, read_report
from infdet_deploy.benchmarks.latency import WARM_UP_RUNS, Contender, contenders, measure
from infdet_deploy.benchmarks.page import write_report
from infdet_deploy.benchmarks.report import build_report, failures
from infdet_deploy.benchmarks.tables import tables
from infdet_deploy.bundle.loading import STAGES, load_bundle
from infdet_deploy.errors import UsageError

FRAMES, RUNS = 32, 3


def test_contenders(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    assert contenders(bundle) == [Contender("openvino", "float32"), Contender("openvino", "float16")]
    assert contenders(bundle, "torchscript", "float16") == [Contender("torchscript", "float16")]
    assert len(contenders(bundle, "all", "float32")) in (1, 2, 3)
    with pytest.raises(UsageError, match="no backend 'gpu'"):
        contenders(bundle, "openvino,gpu")
    with pytest.raises(UsageError, match="has no int8 for openvino; it has float32, float16"):
        contenders(bundle, "openvino", "int8")


@pytest.fixture(scope="module")
def measured(tiny_bundle):
    """A report of two contenders and the original network, and the steps that were told."""
    bundle, steps = load_bundle(tiny_bundle), []
    entries = [*contenders(bundle, "openvino", "float32,float16"), Contender("eager", "float32")]
    found = measure(bundle, entries, FRAMES, RUNS, lambda done, total, name: steps.append((done, total)))
    peaks = {"multiply_adds_per_s": {"float32": 1e11, "bfloat16": None, "int8": 4e11}, "bytes_per_s": 1e10}
    preparation = {"decode_ms": 5.0, "preprocess_ms": 2.0, "codec": "x", "width": 160, "height": 120, "runs": 5}
    return build_report(bundle, found, FRAMES, RUNS, preparation, peaks), steps


def test_report(measured):
    report, steps = measured
    assert steps == [(i + 1, 3 * (WARM_UP_RUNS + RUNS)) for i in range(3 * (WARM_UP_RUNS + RUNS))]
    assert (report["bundle"], report["reference"]) == ("tiny", "eager float32")
    assert not failures(report)
    medians = {row["contender"]: row["latency_ms"]["median"] for row in report["contenders"]}
    for row in report["contenders"]:
        ms, rate = row["latency_ms"], row["frames_per_s"]
        assert len(row["runs_ms"]) == RUNS
        assert sorted(row["runs_ms"])[1] == pytest.approx(ms["median"])
        assert 0 < ms["min"] <= ms["low"] <= ms["median"] <= ms["p90"] <= ms["p99"] <= ms["max"]
        assert rate["median"] == pytest.approx(1000 * FRAMES / ms["median"])
        assert row["real_time_factor"] == pytest.approx(rate["median"] / 25)
        assert row["cameras"] == int(rate["median"] / 25)
        assert row["against_eager"] == pytest.approx(medians["eager float32"] / ms["median"])
        kept = row["backend"] == "openvino"
        for start in [row["start"], row["second_start"]] if kept else [row["start"]]:
            assert 0 < start["load_s"] < start["first_result_s"]
        assert (row["second_start"] is not None) == kept
        assert row["peak_memory_mb"] > 50
        assert set(row["stages_ms"]) == {*STAGES, "detections"}
        assert row["accuracy"]["features_relative_l2"] < (1e-4 if row["precision"] == "float32" else 1e-2)
        assert (row["accuracy"]["missed"], row["roofline"]["precision"]) == (0, "float32")
        floor_ms = row["roofline"]["floor_ms"]
        assert row["roofline"]["fraction"] == pytest.approx(floor_ms / ms["median"])


def test_tables_fit_120_columns(measured):
    for table in tables(measured[0]):
        widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
        assert sum(widths) + 3 * len(widths) + 1 <= 120
        assert all(len(line) <= 120 for line in table.note.splitlines())


def test_files_and_comparison(measured, tmp_path):
    report = measured[0]
    write_report(tmp_path / "out", report)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "http" not in page
    assert "| openvino float16 |" in (tmp_path / "out" / "report.md").read_text()
    old = read_report(tmp_path / "out" / "report.json")
    assert not any(row["more_than_noise"] for row in compare_reports(old, report)["rows"])
    for row in old["contenders"]:
        for key in ("median", "low", "high"):
            row["latency_ms"][key] *= 1000
    old["cores"] += 1
    found = compare_reports(old, report)
    assert all(row["more_than_noise"] and row["change"] == pytest.approx(-0.999) for row in found["rows"])
    assert len(found["warnings"]) == 1
    assert "cores" in found["warnings"][0]
    assert tables(report | {"comparison": found})[-1].rows[0][-1] == "faster"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text", "not JSON"),
        ('{"contenders": []}', "not a report"),
        ('{"schema": "infdet-deploy bench", "version": 99}', "version 99"),
        ('{"schema": "infdet-deploy bench", "version": 1}', "damaged"),
    ],
)
def test_other_reports_are_refused(tmp_path, content, words):
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(UsageError, match=words):
        read_report(tmp_path / "old.json")


def serve_and_die(pipe, job):
    """A child that is killed at once in float16, and serves else."""
    if job.precision == "float16":
        os.kill(os.getpid(), signal.SIGKILL)
    workers.serve(pipe, job)


def test_a_worker_that_dies_does_not_stop_the_others(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    found = measure(bundle, contenders(bundle), 16, 1, target=serve_and_die)
    report = build_report(bundle, found, 16, 1, None, None)
    assert failures(report) == ["openvino float16 died (SIGKILL); the system may have had no memory left"]
    assert report["contenders"][0]["latency_ms"]["median"] > 0
    assert "latency_ms" not in report["contenders"][1]
    assert len(tables(report)[0].rows) == 1


@pytest.mark.parametrize(("frames", "runs", "named"), [(15, 1, "--frames is 15"), (16, 0, "--runs is 0")])
def test_refused(tiny_bundle, frames, runs, named):
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(UsageError, match=named):
        measure(bundle, contenders(bundle), frames, runs)


def test_eager_does_three_channels_work_and_gives_the_same(tiny_network, tiny_clip):
    from torch.utils.flop_counter import FlopCounterMode

    from infdet_deploy.exporting.reference import eager_tensors
    from infdet_deploy.model.complexity import count

    clip = tiny_clip(16)
    with FlopCounterMode(display=False) as counter:
        features, scores = eager.run(tiny_network, clip)
    assert counter.get_total_flops() // 2 == sum(part.multiply_adds for part in count(tiny_network.config, 16))
    head = eager_tensors(tiny_network, clip)["head"]
    np.testing.assert_allclose(scores, head["scores"], atol=1e-5)
    np.testing.assert_allclose(features["flow_features"], head["flow_features"], atol=1e-4)


def test_peaks_and_work(tiny_bundle):
    found = roofline.measure_peaks(side=256, copied_bytes=2**22)
    assert found["multiply_adds_per_s"]["float32"] > 1e8
    assert found["bytes_per_s"] > 1e8
    bundle = load_bundle(tiny_bundle)
    work = roofline.stage_work(bundle, 100)
    flow = work["flow_tower"]
    assert flow["multiply_adds_original"] == 1_518_895_104
    assert flow["multiply_adds"] == 917_858_304  # the enlargement is inside the first layer
    assert work["infrared_tower"]["multiply_adds"] == 956_923_904  # two thirds of its first layer less
    assert roofline.stage_work(bundle, 50)["flow_tower"]["multiply_adds"] == 458_929_152
    manifest = json.loads(json.dumps(bundle.manifest))
    del manifest["stages"]["fen"]["multiply_adds"]
    assert roofline.stage_work(type(bundle)(bundle.path, manifest), 100) is None

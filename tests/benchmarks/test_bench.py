"""`bench`: contenders in separate processes, figures that agree with each other, and failures."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.benchmarks import eager, roofline, workers
from infdet_deploy.benchmarks.bench import BenchOptions, bench
from infdet_deploy.benchmarks.comparison import compare_reports, read_baseline
from infdet_deploy.benchmarks.contenders import contenders
from infdet_deploy.benchmarks.measure import WARM_UP_RUNS, clip_jobs, measure
from infdet_deploy.benchmarks.preparation import Preparation
from infdet_deploy.benchmarks.report import build_report
from infdet_deploy.benchmarks.roofline import Peaks
from infdet_deploy.benchmarks.tables import remarks, tables, write_report
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.errors import BundleError, UsageError
from infdet_deploy.runtime.backends.contender import Contender

FRAMES, RUNS = 32, 3


def test_contenders(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    assert contenders(bundle) == [Contender("openvino", "float32"), Contender("openvino", "float16")]
    assert contenders(bundle, "torchscript", "fp16") == [Contender("torchscript", "float16")]
    assert len(contenders(bundle, "all", "float32")) in (1, 2, 3)
    with pytest.raises(UsageError, match="no backend 'gpu'"):
        contenders(bundle, "openvino,gpu")
    with pytest.raises(UsageError, match="has no bfloat16 for openvino; it has float32, float16"):
        contenders(bundle, "openvino", "bfloat16")


@pytest.fixture(scope="module")
def measured(tiny_bundle):
    """A report of two contenders and the original network, and the calls of `on_progress`."""
    bundle, steps = load_bundle(tiny_bundle), []
    entries = [*contenders(bundle, "openvino", "float32,float16"), Contender("eager", "float32")]
    with clip_jobs(bundle, entries, FRAMES, None, "latency") as jobs:
        timed = measure(jobs, RUNS, lambda done, total, name: steps.append((done, total)))
    peaks = Peaks({"float32": 1e11, "bfloat16": None, "int8": 4e11}, 1e10)
    preparation = Preparation(5.0, 2.0, "x", 160, 120, 5)
    return build_report(bundle, timed, FRAMES, RUNS, "latency", preparation, peaks), steps


def test_report(measured):
    report, steps = measured
    assert steps == [(i + 1, 3 * (WARM_UP_RUNS + RUNS)) for i in range(3 * (WARM_UP_RUNS + RUNS))]
    assert (report.bundle, report.reference, report.failures) == ("tiny", "eager float32", [])
    medians = {row.contender: figures.latency_ms.median for row, figures in report.measured}
    for row, figures in report.measured:
        ms, rate = figures.latency_ms, figures.frames_per_s
        assert len(figures.runs_ms) == RUNS
        assert sorted(figures.runs_ms)[1] == pytest.approx(ms.median)
        assert 0 < ms.min <= ms.low <= ms.median <= ms.p90 <= ms.p99 <= ms.max
        assert rate["median"] == pytest.approx(1000 * FRAMES / ms.median)
        assert figures.real_time_factor == pytest.approx(rate["median"] / 25)
        assert figures.cameras == int(rate["median"] / 25)
        assert figures.against_eager == pytest.approx(medians["eager float32"] / ms.median)
        assert (figures.second_start is not None) == (row.backend == "openvino")  # which caches stages
        for start in filter(None, (figures.start, figures.second_start)):
            assert 0 < start.load_s < start.first_result_s
        assert figures.peak_memory_mb > 50
        assert set(figures.stages_ms) == {*STAGES, "detections"}
        assert figures.accuracy.features_relative_l2 < (1e-4 if row.precision == "float32" else 1e-2)
        assert (figures.accuracy.missed, figures.roofline.precision) == (0, "float32")
        assert figures.roofline.fraction == pytest.approx(figures.roofline.floor_ms / ms.median)


def test_the_papers_speed_is_shown_for_its_network_only(measured):
    report = measured[0]
    assert report.to_dict()["paper"] is None
    assert "290" not in " ".join(remarks(report))
    paper = replace(report, network={"classes": ["a"], "size": 224})  # other keys have the paper's values by default
    assert paper.to_dict()["paper"]["frames_per_s"] == 290
    assert remarks(paper)[0].startswith("The paper's figure: 290 frames/s on 4 x V100")


def test_tables_fit_120_columns(measured):
    for section in tables(measured[0]):
        widths = [max(map(len, column)) for column in zip(section.columns, *section.rows, strict=True)]
        assert sum(widths) + 3 * len(widths) + 1 <= 120
        assert all(len(line) <= 120 for line in section.note.splitlines())


def test_files_and_comparison(measured, tmp_path):
    pytest.importorskip("matplotlib")
    report = measured[0]
    write_report(tmp_path / "out", report)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "http" not in page
    assert "| openvino float16 |" in (tmp_path / "out" / "report.md").read_text()
    old = read_baseline(tmp_path / "out" / "report.json")
    assert old == report.baseline
    assert not any(row.more_than_noise for row in compare_reports(old, report.baseline).rows)
    slower = {
        name: replace(ms, **{key: 1000 * getattr(ms, key) for key in ("median", "low", "high")})
        for name, ms in old.latency_ms.items()
    }
    found = compare_reports(replace(old, cores=old.cores + 1, latency_ms=slower), report.baseline)
    assert all(row.more_than_noise and row.change == pytest.approx(-0.999) for row in found.rows)
    (warning,) = found.warnings
    assert "cores" in warning
    compared = replace(report, comparison=found)
    assert tables(compared)[-1].rows[0][-1] == "faster"
    first = compared.to_dict()["comparison"]["rows"][0]
    assert list(first) == ["contender", "old_ms", "new_ms", "change", "low", "high", "more_than_noise"]


def test_files_without_matplotlib(measured, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(tmp_path, measured[0])
    page = (tmp_path / "report.html").read_text()
    assert "<svg" not in page
    assert "<td>openvino float16</td>" in page
    assert "Charts need the package matplotlib" in page


def test_a_report_of_an_earlier_version_is_compared():
    """As version 0.1 wrote it, shortened to what a comparison reads."""
    old = read_baseline(Path(__file__).parent / "report_0.1.json")
    assert (old.bundle, old.frames, list(old.latency_ms)) == ("tiny", 100, ["openvino float32"])
    assert old.latency_ms["openvino float32"].median == 1069.9


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text", "not JSON"),
        ('{"contenders": []}', "not a report"),
        ('{"schema": "infdet-deploy bench", "version": 99}', "version 99"),
        ('{"schema": "infdet-deploy bench", "version": 1}', "damaged"),
        (
            '{"schema": "infdet-deploy bench", "version": 1, "contenders": [{"contender": "a", "error": null}]}',
            "damaged",
        ),
    ],
)
def test_other_reports_are_refused(tmp_path, content, words):
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(UsageError, match=words):
        read_baseline(tmp_path / "old.json")


def serve_and_die(pipe, job):
    """A child that is killed at once in float16, and serves otherwise."""
    if job.contender.precision == "float16":
        os.kill(os.getpid(), signal.SIGKILL)
    workers.serve(pipe, job)


def test_a_worker_that_dies_does_not_stop_the_others(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    with clip_jobs(bundle, contenders(bundle), 16, None, "latency") as jobs:
        report = build_report(bundle, measure(jobs, 1, target=serve_and_die), 16, 1)
    assert report.failures == ["openvino float16 died (SIGKILL); the system may be out of memory"]
    first, second = report.to_dict()["contenders"]
    assert first["latency_ms"]["median"] > 0
    assert list(second) == ["contender", "backend", "precision", "error"]
    assert len(tables(report)[0].rows) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 15}, "--frames is 15; a clip needs at least 16"),
        ({"runs": 0}, "--runs is 0"),
        ({"against": "other"}, "--against other: expected eager"),
        ({"performance": "fast"}, "no performance 'fast'; expected latency or throughput"),
        ({"preset": "tiny"}, "either a bundle or --preset"),
        ({"compare": Path("missing.json")}, "--compare missing.json: No such file"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"backend": "tpu"}, "no backend 'tpu'"),
    ],
)
def test_wrong_requests(tiny_bundle, options, words):
    with pytest.raises(UsageError, match=words):
        bench(tiny_bundle, BenchOptions(**options))


def test_out_must_be_a_folder_and_eager_needs_weights(stream_bundle, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; give a folder"):
        BenchOptions(out=tmp_path / "file")
    with pytest.raises(BundleError, match=r"has no weights.safetensors, from which --against eager builds"):
        bench(stream_bundle, BenchOptions(against="eager"))


def test_eager_computes_three_channels_with_the_same_result(tiny_network, tiny_clip):
    from torch.utils.flop_counter import FlopCounterMode

    from infdet_deploy.exporting.tensors import eager_tensors
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
    assert found.multiply_adds_per_s["float32"] > 1e8
    assert found.bytes_per_s > 1e8
    assert Peaks({"float32": 2.0, "int8": None}, 3.0).max(Peaks({"float32": 1.0, "int8": 4.0}, None)) == Peaks(
        {"float32": 2.0, "int8": 4.0}, 3.0
    )
    bundle = load_bundle(tiny_bundle)
    work = roofline.stage_work(bundle, 100)
    flow = work["flow_tower"]
    assert flow.multiply_adds_original == 590_462_976
    assert flow.multiply_adds == 289_944_576  # the enlargement is inside the first layer
    assert work["infrared_tower"].multiply_adds == 309_477_376  # two thirds of its first layer less
    assert roofline.stage_work(bundle, 50)["flow_tower"].multiply_adds == 144_972_288
    fen = replace(bundle.entry("fen"), multiply_adds=None)
    manifest = replace(bundle.manifest, stages={**bundle.manifest.stages, "fen": fen})
    assert roofline.stage_work(type(bundle)(bundle.path, manifest), 100) is None

"""The command: what it refuses, what it finds, and the page that it writes."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from infdet_deploy.bundle.golden import load_golden
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import write_manifest
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.bundle.tolerances import Tolerances
from infdet_deploy.detections import detect
from infdet_deploy.errors import BackendError, BundleError, UsageError
from infdet_deploy.plots.page import render
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.verification.bisect import Bisection, ModuleErrors, _Runner
from infdet_deploy.verification.end_to_end import EndToEnd, end_to_end, own_rule, sample_clips
from infdet_deploy.verification.references import golden_references
from infdet_deploy.verification.report import module_rows, stage_rows
from infdet_deploy.verification.report import page as verify_page
from infdet_deploy.verification.result import Verification
from infdet_deploy.verification.stages import StageParity, stage_parity
from tests.conftest import COMMAND
from tests.verification.faults import change_graph, poison_bias, rehash, set_pads

STAGE_KEYS = {
    *("stage", "backend", "precision", "frames", "max_abs", "relative_l2", "cosine", "snr_db", "nonfinite"),
    *("tolerance", "error", "passed"),
}
END_KEYS = {
    *("backend", "precision", "clips", "max_abs", "relative_l2", "cosine", "snr_db", "nonfinite", "tolerance"),
    *("reference", "matched", "missed", "extra", "boundary_shift_frames", "score_shift", "map", "reference_map"),
    *("map_change", "error", "passed"),
}


def test_the_golden_clip_has_the_networks_tensors(tiny_bundle, tiny_network):
    from infdet_deploy.exporting.tensors import eager_tensors

    arrays = load_golden(load_bundle(tiny_bundle))
    assert arrays["frames"].shape == (64, 64, 64)
    assert arrays["frames"].dtype == np.uint8
    expected = eager_tensors(tiny_network, arrays["frames"])
    (tensors,) = golden_references(load_bundle(tiny_bundle))
    assert set(tensors) == {*STAGES, "network"}
    for stage in STAGES:
        assert set(tensors[stage]) == set(expected[stage])
        for name, array in expected[stage].items():
            np.testing.assert_allclose(tensors[stage][name], array, atol=1e-6)
    np.testing.assert_array_equal(tensors["network"]["scores"], tensors["head"]["scores"])
    assert (tiny_bundle / "golden.npz").stat().st_size < 1_000_000


@pytest.mark.slow
def test_self_test_without_torch_onnx_and_safetensors(tiny_bundle, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('torch', 'onnx', 'safetensors', 'cv2'):\n    sys.modules[name] = None\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}

    def run(*options):
        line = [*COMMAND, "verify", str(tiny_bundle), "--json", *options]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)

    result = run("--self-test", "--html", str(tmp_path / "page.html"))
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["against"], report["passed"]) == ("golden clip", True)
    assert {row["backend"] for row in report["stages"]} <= {"openvino", "onnxruntime"}
    assert {(row["stage"], row["precision"]) for row in report["stages"]} == {
        (stage, precision) for stage in STAGES for precision in ("float32", "float16")
    }
    assert max(row["max_abs"] for row in report["end_to_end"] if row["precision"] == "float32") < 1e-4
    assert (tmp_path / "page.html").is_file()
    without = run()
    assert without.returncode == 1
    assert "verify (without --self-test) needs the package torch" in without.stderr


@pytest.mark.slow
def test_self_test_finds_a_changed_stage_and_refuses_a_bundle_without_a_clip(bundle_copy, command):
    change_graph(bundle_copy, "head.float16.onnx", lambda g: poison_bias(g, "output.bias"))
    result = command("verify", bundle_copy, "--self-test", "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    wrong = {(r["stage"], r["precision"]) for r in report["stages"] if not r["passed"]}
    assert wrong == {("head", "float16")}
    openvino = next(r for r in report["stages"] if not r["passed"] and r["backend"] == "openvino")
    assert openvino["nonfinite"] > 0
    assert openvino["relative_l2"] is None
    (end,) = (r for r in report["end_to_end"] if (r["backend"], r["precision"]) == ("openvino", "float16"))
    assert "gave scores that are not numbers" in end["error"]
    assert (end["passed"], end["missed"]) == (False, end["reference"])

    (bundle_copy / "golden.npz").write_bytes(b"PK\3\4 no archive")
    rehash(bundle_copy, "golden.npz")
    with pytest.raises(BundleError, match=r"golden\.npz is damaged"):
        load_golden(load_bundle(bundle_copy))
    (bundle_copy / "golden.npz").unlink()
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    del manifest["files"]["golden.npz"]
    write_manifest(bundle_copy, manifest)
    refused = command("verify", bundle_copy, "--self-test")
    assert refused.returncode == 1
    assert "has no golden.npz" in refused.stderr


def test_a_stage_that_cannot_run_is_a_row_without_traceback(bundle_copy):
    node = "flow_tower/Mixed_5b/b1b/Conv"
    change_graph(bundle_copy, "flow_tower.float32.onnx", lambda g: set_pads(g, node, [1, 1, 1, 1, 1, 2]))
    bundle = load_bundle(bundle_copy)
    references = golden_references(bundle)
    wrong = [row for row in stage_parity(bundle, references) if not row.passed]
    assert {(row.stage, row.precision) for row in wrong} == {("flow_tower", "float32")}
    assert all(row.error and "\n" not in row.error and np.isnan(row.max_abs) for row in wrong)
    contenders = [Contender(row.backend, "float32") for row in wrong]
    for row in end_to_end(bundle, contenders, sample_clips(bundle, references)):
        assert not row.passed
        assert row.error
        assert "\n" not in row.error


@pytest.mark.parametrize("error", [UsageError("no such file"), BundleError("changed"), TypeError("a bug")])
def test_only_a_backend_may_refuse_to_open_a_stage(tiny_bundle, monkeypatch, error):
    def refuse(*_):
        raise error

    bundle = load_bundle(tiny_bundle)
    references = golden_references(bundle)
    entry = Contender("openvino", "float32")
    graph = SimpleNamespace(cut=lambda *_: ())
    runner = _Runner(entry, tiny_bundle, {})
    monkeypatch.setattr("infdet_deploy.runtime.backends.openvino.OpenVino.open_stage", refuse)
    monkeypatch.setattr("infdet_deploy.verification.bisect.open_stage", refuse)
    monkeypatch.setattr("infdet_deploy.verification.end_to_end.Detector", refuse)
    with pytest.raises(type(error)):
        list(stage_parity(bundle, references, contenders=[entry]))
    with pytest.raises(type(error)):
        runner.run(graph, ["x"])
    if isinstance(error, TypeError):
        with pytest.raises(TypeError):
            end_to_end(bundle, [entry], sample_clips(bundle, references))
    error = BackendError("cannot compile")
    assert {row.error for row in stage_parity(bundle, references, contenders=[entry])} == {"cannot compile"}
    assert runner.run(graph, ["x"]) == {}
    (row,) = end_to_end(bundle, [entry], sample_clips(bundle, references))
    assert row.error == "cannot compile"


def test_bisect_closes_a_stage_that_gives_other_outputs(tmp_path, monkeypatch):
    closed = []
    stage = SimpleNamespace(run=lambda _: {"other": 1}, close=lambda: closed.append(True))
    monkeypatch.setattr("infdet_deploy.verification.bisect.open_stage", lambda *_: stage)
    with pytest.raises(KeyError):
        _Runner(Contender("openvino", "float32"), tmp_path, {}).run(SimpleNamespace(cut=lambda *_: ()), ["x"])
    assert closed == [True]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tolerance", "float16"], "tolerance float16: '' is no number"),
        (["--tolerance", "float99=1"], "expected PRECISION or PRECISION.scores"),
        (["--tolerance", "float16=tiny"], "'tiny' is no number"),
        (["--tolerance", "float16=-1"], "got -1.0, expected a number of 0 or more"),
        (["--tolerance", "float16=nan"], "got nan, expected a number of 0 or more"),
        (["--tolerance", "float16.features=1"], "expected PRECISION or PRECISION.scores"),
        (["--self-test", "--bisect"], "--self-test excludes --data and --bisect"),
        (["--self-test", "--data", "."], "--self-test excludes --data and --bisect"),
        (["--subset", "testing"], "add --data DIR"),
        (["--html", "."], "--html . is a folder"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, options, said):
    result = command("verify", *options)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_own_rule_by_hand():
    """The widest gaps are 0.2–0.8, 0.5–0.6 and, of equal scores, none."""
    scores = np.array([[0.8, 0.5, 0.4], [0.1, 0.6, 0.4], [0.9, 0.5, 0.4], [0.2, 0.6, 0.4]], np.float32)
    rule = own_rule(scores)
    assert rule.thresholds == pytest.approx((0.5, 0.55, 0.4))
    assert rule.mean_duration_s == (0.0, 0.0, 0.0)
    found = detect(scores, ("a", "b", "c"), rule, 1.0)
    assert [(d.label, d.start_s, d.end_s) for d in found] == [("a", 0, 1), ("a", 2, 3), ("b", 1, 2), ("b", 3, 4)]
    assert detect(scores[:1], ("a", "b", "c"), own_rule(scores[:1]), 1.0) == []


def test_a_clip_without_detections_is_compared_at_thresholds_from_its_scores(tiny_bundle):
    bundle = load_bundle(tiny_bundle).with_thresholds(dict.fromkeys(("drop", "fight", "hug"), 0.99))
    (clip,) = sample_clips(bundle, golden_references(bundle))
    assert clip.rule == own_rule(clip.scores)
    assert len(clip.detections(bundle, clip.scores)) >= 3
    contender = Contender("openvino", "float32")
    (same,) = end_to_end(bundle, [contender], [clip])
    assert same.reference >= 3
    assert (same.matched, same.missed, same.extra) == (same.reference, 0, 0)
    later = dataclasses.replace(clip, scores=np.roll(clip.scores, 1, axis=0))
    (other,) = end_to_end(bundle, [contender], [later])
    assert other.boundary_shift_frames == pytest.approx(8)  # one snippet


def test_end_to_end_by_hand(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    (clip,) = sample_clips(bundle, golden_references(bundle))
    rows = end_to_end(bundle, [Contender("openvino", "float32"), Contender("openvino", "float64")], [clip])
    good, unknown = rows
    assert good.passed
    assert (good.clips, good.nonfinite, good.missed, good.extra) == (1, 0, 0, 0)
    assert good.matched == good.reference
    assert good.scores.shape == clip.scores.shape
    assert not unknown.passed
    assert "float64" in unknown.error

    shifted = dataclasses.replace(clip, scores=np.roll(clip.scores, 1, axis=0) + np.float32(1e-3))
    (row,) = end_to_end(bundle, [Contender("openvino", "float32")], [shifted])
    np.testing.assert_allclose(row.max_abs, np.abs(good.scores - shifted.scores).max(), rtol=1e-6)
    assert not row.passed


@pytest.mark.slow
def test_data_gives_map_and_its_change(tmp_path, tiny_bundle, command):
    from tests.video.recordings import moving_scene, write_video

    data = tmp_path / "data"
    (data / "videos").mkdir(parents=True)
    database = {}
    for name, subset in (("a", "testing"), ("b", "testing"), ("c", "training")):
        write_video(data / "videos" / f"{name}.mkv", moving_scene(60), "ffv1", "gray")
        segment = {"label": "fight", "segment": [0.5, 1.5]}
        database[name] = {"subset": subset, "duration": 2.4, "annotations": [segment]}
    (data / "annotations.json").write_text(json.dumps({"database": database}))
    result = command("verify", tiny_bundle, "--data", data, "--json", "--html", "page.html")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report) == {
        *("bundle", "passed", "against", "data", "own_thresholds", "tolerances", "stages", "end_to_end", "left_out")
    }
    assert report["data"] == f"{data}, testing"
    assert all(set(row) == STAGE_KEYS for row in report["stages"])
    for row in report["end_to_end"]:
        assert set(row) == END_KEYS
        assert row["clips"] == 2
        assert set(row["map"]) == set(row["map_change"]) == {f"0.{n}" for n in range(1, 8)}
        for iou, value in row["map"].items():
            assert row["map_change"][iou] == pytest.approx(value - row["reference_map"][iou])
    assert "<h2>mAP (THUMOS&#x27;14)</h2>" in (tmp_path / "work" / "page.html").read_text()


def test_a_stricter_tolerance_fails_on_the_newest_bundle(tiny_bundle, command, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "new.infdet").symlink_to(tiny_bundle)
    result = command("verify", "--self-test", "--tolerance", "float16=1e-9", "--tolerance", "float32.scores=1")
    assert result.returncode == 1
    assert "note: using new.infdet, the newest bundle here" in result.stderr
    assert "over 1e-09" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert sorted({line[-1] for line in lines if line[:3] == ["fen", "openvino", "float32"]}) == ["ok"]
    assert len([line for line in lines if line[:2] == ["head", "openvino"]]) == 2  # a line per precision


class _Outside(HTMLParser):
    """Open tags, and the links that a page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.counts = [], [], {}

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        links = [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.fetched += [link for link in links if not link.startswith("#")]  # marks refer to shapes of the page
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def made_up(bundle):
    nan = float("nan")
    float32, float16 = ("openvino", "float32"), ("openvino", "float16")
    stages = (
        StageParity(*float32, 1e-5, 1e-6, 1.0, 120.0, 0, 1e-4, "", "fen", 16),
        StageParity(*float32, 1e-3, 1e-3, 0.99, 60.0, 0, 1e-4, "", "fen", 44),
        StageParity(*float32, nan, nan, nan, nan, 7, 1e-4, "", "head", 16),
    )
    maps = {"0.1": 0.5, "0.5": 0.25}, {"0.1": 0.6, "0.5": 0.25}
    scores = np.array([[0.1, 0.2, 0.9], [0.2, 0.2, 0.1]], np.float32)
    ends = (
        EndToEnd(*float32, 2e-5, 1e-5, 1.0, 100.0, 0, 1e-4, "", 2, 5, 4, 1, 2, 8.0, 0.1, *maps, scores=scores),
        EndToEnd(*float16, nan, nan, nan, nan, 0, 1e-2, "<broken>", 2, 5, 0, 5, 0, nan, nan, None, maps[1]),
    )
    modules = [ModuleErrors("fen/conv1", 1e-6, None, 0, "ok"), ModuleErrors("fen/layers/0", 0.5, 0.5, 0, "culprit")]
    modules += [ModuleErrors(f"fen/layers/{i}", nan, 1e-7, 3, "victim") for i in range(1, 6)]
    found = Bisection("fen", "openvino", "float32", 1e-4, tuple(modules))
    return Verification(bundle, "network", "DATA & more", 0, Tolerances(), stages, ends, (found,), "clip", scores)


def test_rows_show_the_worst_clip_and_the_page_is_complete(tiny_bundle):
    found = made_up(load_bundle(tiny_bundle))
    assert not found.passed
    assert stage_rows(found.stages) == [
        ["fen", "openvino", "float32", "1.0e-03", "1.0e-03", "0.9900000", "60", "0", "over 1e-04"],
        ["head", "openvino", "float32", "nan", "nan", "nan", "–", "7", "not finite"],
    ]
    (one,) = found.bisections
    assert [row[0] for row in module_rows(one)] == ["fen/conv1", *(f"fen/layers/{i}" for i in range(4))]
    assert len(module_rows(one, every=True)) == 7

    page = render(verify_page(found))
    parser = _Outside()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert parser.fetched == []
    assert not re.search(r"url\([^#]|https?:", page)
    assert "@import" not in page
    assert parser.counts["svg"] == 4  # stages, scores, mAP, modules
    assert "script" not in parser.counts
    assert "&lt;broken&gt;" in page
    assert "DATA &amp; more" in page
    assert "out of tolerance" in page
    assert "fen on openvino float32: fen/layers/0 is wrong with the right input" in page
    assert "0.500 (-0.100)" in page
    assert len(re.findall(r'<tr class="failed">', page)) == 4  # fen, head, float16 and the culprit
    assert not re.search(r'="[^"]*\b(nan|inf)\b', page)


def test_the_page_without_matplotlib(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = render(verify_page(made_up(load_bundle(tiny_bundle))))
    assert "<svg" not in page
    assert page.count("<table>") == 5
    assert "Charts need the package matplotlib: pip install &#x27;infdet-deploy[plot]&#x27;" in page


def test_self_test_imports_no_torch():
    code = (
        "import sys\n"
        "import infdet_deploy.verification.verify, infdet_deploy.verification.report, infdet_deploy.bundle.golden\n"
        "print([m for m in ('torch', 'onnx', 'safetensors', 'cv2') if m in sys.modules])\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"

"""`eval`: equal metrics of a checkpoint and its bundle, stored thresholds, pictures, one-line errors."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import read_manifest
from infdet_deploy.datasets import open_dataset
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import AnnotationError, UsageError, VideoError
from infdet_deploy.evaluation.evaluate import EvaluateOptions, evaluate, subject_kind
from infdet_deploy.evaluation.scorers import BundleScorer
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network, random_network, save_network
from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize
from tests.video.recordings import moving_scene, write_video

EXTRA = {"thresholds": [0.45, 0.5, 0.55], "mean_duration_s": [0.2, 0.2, 0.2], "frame_mode": "resize", "source": "a"}


def run_evaluate(subject, data, **options):
    return evaluate(subject, data, EvaluateOptions(**options)).to_dict()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six clips of 41 frames, of which a bundle sees 40; one of each class for testing."""
    folder = tmp_path_factory.mktemp("evaluation") / "data"
    return synthesize(folder, SynthesizeOptions(clips=6, size=(64, 64), fps=4, clip_s=(10.25, 10.25), test_share=1 / 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_network):
    """A run folder with the network of `tiny_bundle`."""
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    for name in ("best", "last"):
        save_network(folder / f"{name}.safetensors", tiny_network, tiny_network.config, EXTRA)
    return folder


@pytest.fixture
def detections(tmp_path):
    """Annotations and detections: hug at 1–3 s found at 1–2.5, drop at 5–6 s not."""
    instances = [{"label": "hug", "segment": [1.0, 3.0]}, {"label": "drop", "segment": [5.0, 6.0]}]
    truth = {"database": {"a": {"subset": "testing", "annotations": instances}}}
    found = {"results": {"a": [{"label": "hug", "segment": [1.0, 2.5], "score": 0.9}]}}
    for name, content in (("truth.json", truth), ("found.json", found)):
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path / "found.json", tmp_path / "truth.json"


def test_detection_file(detections, tmp_path):
    report = run_evaluate(*detections, out=tmp_path / "out")
    assert (report["kind"], report["subset"], report["classes"]) == ("detections", None, ["drop", "hug"])
    assert (report["clips"], report["instances"], report["detections"]) == (1, 2, 1)
    for protocol in ("thumos14", "activitynet"):
        result, curves = report["protocols"][protocol], report["precision_recall"][protocol]
        assert result["map"] == dict.fromkeys((f"0.{n}" for n in range(1, 8)), 0.5)
        assert curves["hug"] == {"score": [0.9], "precision": [1.0], "recall": [1.0]}
        assert curves["drop"] == {"score": [], "precision": [], "recall": []}
    assert report["errors"]["instances"]["drop"] == {"found": 0, "found_badly": 0, "missed": 1}
    assert "thresholds" not in report
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "errors.png",
        "precision_recall.png",
        "report.json",
    ]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    again = run_evaluate(*detections, subset="test", protocol="thumos14", out=tmp_path / "out")  # a report is replaced
    assert list(again["protocols"]) == ["thumos14"]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == again


@pytest.mark.slow
def test_a_checkpoint_and_its_bundle_have_equal_metrics(data, run, tiny_bundle, tmp_path):
    eager = run_evaluate(run, data, out=tmp_path / "eager")
    compiled = run_evaluate(tiny_bundle, data, out=tmp_path / "compiled")
    assert (eager["kind"], compiled["kind"]) == ("checkpoint", "bundle")
    assert eager["subset"] == compiled["subset"] == "testing"
    assert eager["clips"] == 3
    assert eager["detections"] > 0
    assert compiled["errors"] == eager["errors"]
    for label, curve in eager["precision_recall"]["thumos14"].items():  # random weights: nearly equal scores may swap
        assert compiled["precision_recall"]["thumos14"][label]["score"] == pytest.approx(curve["score"], abs=1e-5)
        assert compiled["precision_recall"]["thumos14"][label]["recall"][-1:] == curve["recall"][-1:]
    assert compiled["thresholds"] == eager["thresholds"] == {"drop": 0.45, "fight": 0.5, "hug": 0.55}
    losses = eager["losses"]
    assert losses["loss"] == pytest.approx(losses["classification"] + 0.7 * losses["flow"], rel=1e-5)
    assert "losses" not in compiled
    names = {str(path.relative_to(tmp_path / "compiled")) for path in (tmp_path / "compiled").rglob("*.png")}
    clips = {f"timelines/{clip.name}.png" for clip in open_dataset(data).subset("testing")}
    assert names == {"errors.png", "precision_recall.png", *clips}
    assert {path.name for path in (tmp_path / "eager").glob("*.png")} == {
        "errors.png",
        "flow.png",
        "precision_recall.png",
    }


def test_recordings_of_one_file_name_in_two_folders(tmp_path, capsys):
    action = {"label": "hug", "segment": [1.0, 3.0]}
    clips = {name: {"annotations": [action]} for name in ("cam1/a", "cam1/b")}
    found = {name: [action | {"score": 0.9}] for name in ("cam1/a", "cam2/b")}
    for name, content in (("truth.json", {"database": clips}), ("found.json", {"results": found})):
        (tmp_path / name).write_text(json.dumps(content))
    report = run_evaluate(tmp_path / "found.json", tmp_path / "truth.json")
    assert report["protocols"]["thumos14"]["map"]["0.5"] == 0.5
    assert "detections of 1 videos that the annotations do not have count as wrong: 'cam2/b'" in capsys.readouterr().err
    found["B"] = found.pop("cam2/b")
    (tmp_path / "found.json").write_text(json.dumps({"results": found}))
    with pytest.raises(AnnotationError, match="video 'B' is not in the annotations, 'cam1/b' is; use one spelling"):
        run_evaluate(tmp_path / "found.json", tmp_path / "truth.json")


@pytest.mark.parametrize("pause_s", [0.0, 60.0])
def test_a_recording_that_pauses_is_judged_in_parts(tmp_path, tiny_bundle, monkeypatch, pause_s):
    """Every part is found from start to end; the action lies in the second half of the recording."""
    pts = np.arange(128) * 40 + np.where(np.arange(128) < 64, 0, round(1000 * pause_s))
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mkv", moving_scene(128, 24, 32), "ffv1", "gray", pts=pts.tolist())
    action = {"label": "hug", "segment": [2.56 + pause_s, 5.12 + pause_s]}
    content = {"classes": ["drop", "fight", "hug"], "database": {"a": {"annotations": [action]}}}
    (tmp_path / "annotations.json").write_text(json.dumps(content))

    def scores(self, data, subset, on_progress):
        self.rule = DetectionRule((1.0, 1.0, 0.5), (0.0, 0.0, 0.0), ends="interpolated")
        self.detector.scores = lambda frames: np.full((len(frames) // 8, 3), 0.9, np.float32)
        return original(self, data, subset, on_progress)

    original = BundleScorer.score
    monkeypatch.setattr(BundleScorer, "score", scores)
    report = run_evaluate(tiny_bundle, tmp_path)
    assert (report["clips"], report["instances"], report["detections"]) == (1, 1, 2 if pause_s else 1)
    # Without the pause one detection of twice the length; with it, one is right, the other of equal score comes first.
    assert report["protocols"]["thumos14"]["ap"]["hug"]["0.4"] == (0.5 if pause_s else 1.0)
    assert report["protocols"]["thumos14"]["ap"]["hug"]["0.7"] == (0.5 if pause_s else 0.0)


@pytest.mark.slow
def test_fitted_thresholds_are_stored_in_the_best_checkpoint(data, run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = load_file(copy / "best.safetensors")
    report = run_evaluate(copy, data, fit_thresholds=True)
    assert report["thresholds_before"] == {"drop": 0.45, "fight": 0.5, "hug": 0.55}
    _, extra = load_network(copy / "best.safetensors")
    assert extra == {**EXTRA, "thresholds": list(report["thresholds"].values())}
    assert report["thresholds"] != report["thresholds_before"]
    after = load_file(copy / "best.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert load_network(copy / "last.safetensors")[1] == EXTRA
    again = run_evaluate(copy / "best.safetensors", data)
    assert again["thresholds"] == report["thresholds"]
    assert again["protocols"] == report["protocols"]


@pytest.mark.slow
def test_fitted_thresholds_are_stored_in_the_manifest(data, run, tmp_path, bundle_copy):
    before = read_manifest(bundle_copy)
    report = run_evaluate(bundle_copy, data, fit_thresholds=True, backend="onnxruntime")
    rule = {**before["rule"], "thresholds": list(report["thresholds"].values())}
    assert read_manifest(bundle_copy) == {**before, "rule": rule}
    assert load_bundle(bundle_copy).rule.thresholds == tuple(report["thresholds"].values())
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    assert run_evaluate(copy, data, fit_thresholds=True)["thresholds"] == report["thresholds"]


def test_other_metadata_of_a_checkpoint_stays(tmp_path, tiny_network):
    from infdet_deploy.training.checkpoint import store_thresholds

    file = tmp_path / "w.safetensors"
    save_network(file, tiny_network, tiny_network.config, EXTRA)
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    save_file(load_file(file), file, {**header, "note": "kept"})
    store_thresholds(file, (0.1, 0.2, 0.3))
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["note"] == "kept"
    assert load_network(file)[1] == {**EXTRA, "thresholds": [0.1, 0.2, 0.3]}


def test_a_network_of_one_class(data, tmp_path):
    network = random_network(ModelConfig(classes=("drop",), size=64, channel_divisor=8))
    save_network(tmp_path / "one.safetensors", network, network.config)
    folder = shutil.copytree(data, tmp_path / "data")
    content = json.loads((folder / "annotations.json").read_text())
    for entry in content["database"].values():
        entry["annotations"] = [{"label": "drop", "segment": [2.0, 5.0]}]
    (folder / "annotations.json").write_text(json.dumps(content | {"classes": ["drop"]}))
    report = run_evaluate(tmp_path / "one.safetensors", folder)
    assert report["classes"] == list(report["thresholds"]) == ["drop"]
    assert sum(report["errors"]["instances"]["drop"].values()) == 3
    assert report["errors"]["detections"]["drop"]["wrong_class"] == 0


def test_kinds(tmp_path, run, tiny_bundle, detections):
    assert [subject_kind(path) for path in (run, run / "last.safetensors", tiny_bundle, detections[0])] == [
        "checkpoint",
        "checkpoint",
        "bundle",
        "detections",
    ]
    for path, words in (("absent", "no such file or folder; expected a detection file, a run folder"), ("", "neither")):
        with pytest.raises(UsageError, match=words):
            subject_kind(tmp_path / path)
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(UsageError, match=r"a\.pth is neither text nor a \.safetensors file; expected a detection"):
        subject_kind(tmp_path / "a.pth")


def test_requests_that_do_not_fit(data, run, detections, tmp_path, bundle_copy):
    found, truth = detections
    with pytest.raises(UsageError, match="'voc', expected both, thumos14 or activitynet"):
        run_evaluate(found, truth, protocol="voc")
    with pytest.raises(UsageError, match="fitting thresholds needs scores"):
        run_evaluate(found, truth, fit_thresholds=True)
    for what in (found, run):
        with pytest.raises(UsageError, match="backend and precision are for bundles"):
            run_evaluate(what, data, backend="openvino")
    with pytest.raises(UsageError, match="tensorflow"):
        run_evaluate(bundle_copy, data, backend="tensorflow")
    (tmp_path / "other").mkdir()
    for out in ("other", "truth.json"):
        with pytest.raises(UsageError, match="is not an earlier report"):
            run_evaluate(found, truth, out=tmp_path / out)
    assert not list((tmp_path / "other").iterdir())
    with pytest.raises(AnnotationError, match="no clip of subset 'val'; subsets there are testing"):
        run_evaluate(found, truth, subset="val")


def test_data_that_does_not_fit(data, run, tmp_path, tiny_bundle, detections):
    for what in (run, tiny_bundle):
        with pytest.raises(AnnotationError, match="no clip of subset 'val'; subsets there are testing, training"):
            run_evaluate(what, data, subset="val")
        with pytest.raises(VideoError, match=r"clip 'a' has no frames; expected videos/a\.mp4"):
            run_evaluate(what, detections[1])
    folder = shutil.copytree(data, tmp_path / "data")
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    for entry in content["database"].values():
        entry["subset"] = "testing"
    file.write_text(json.dumps(content))
    for what in (run, tiny_bundle):
        with pytest.raises(AnnotationError, match="no clip of subset 'training'; subsets there are testing"):
            run_evaluate(what, folder, fit_thresholds=True)
    next(iter(content["database"].values()))["annotations"][0]["label"] = "wave"
    file.write_text(json.dumps({"database": content["database"]}))
    for what in (run, tiny_bundle):
        with pytest.raises(AnnotationError, match="has label 'wave', the network knows drop, fight, hug"):
            run_evaluate(what, folder)


def test_commands(detections, command, tmp_path):
    found, truth = detections
    result = command("eval", found, "--data", truth)
    assert result.returncode == 0, result.stderr
    assert "note" not in result.stderr
    assert "found.json on all 1 clips: 1 detections, 2 instances" in result.stdout
    assert "activitynet" in result.stdout
    assert "poor localisation" in result.stdout
    old = command("eval", found, truth)
    assert (old.returncode, old.stdout) == (0, result.stdout)
    assert f"note: use --data {truth}; DATA as an argument works for one more release" in old.stderr
    for arguments, said in (
        ((tmp_path / "none", "--data", truth), f"{tmp_path / 'none'}: no such file or folder; expected a detection"),
        ((found,), "name the data set: --data DIR"),
        ((found, truth, "--data", truth), f"unexpected argument {truth}; eval accepts one SUBJECT"),
    ):
        refused = command("--quiet", "eval", *arguments)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"infdet-deploy: {said}")
        assert len(refused.stderr.splitlines()) == 1

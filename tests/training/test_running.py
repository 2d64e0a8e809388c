"""`train` and what belongs to it, as the command line calls them."""

import json
import shutil

import pytest

from infdet_deploy.archive.detect import detect
from infdet_deploy.errors import ConfigError, TrainingError, UsageError
from infdet_deploy.evaluation.evaluate import evaluate
from infdet_deploy.exporting.export import export
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.model.weights import load_network, random_network, save_network
from infdet_deploy.training import running as training
from infdet_deploy.training.checkpoint import store_thresholds
from tests.training.test_loop import MODEL
from tests.video.recordings import moving_scene, write_video

QUICK = {
    "steps": 2, "batch": 2, "window_frames": 16, "validate_every": 2, "save_every": 2, "norm_windows": 1,
    "precision": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network to start from, so that runs are quick."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_network(path, random_network(MODEL, seed=1), MODEL)
    return path


@pytest.fixture(scope="module")
def data(nine_clips, tmp_path_factory):
    return shutil.copytree(nine_clips, tmp_path_factory.mktemp("train") / "data")


def test_settings():
    assert training.settings(5, None, True, False, ["schedule=paper", "jitter=0", "mirror=false"]) == {
        "steps": 5, "chunk_snippets": 32, "schedule": "paper", "jitter": 0, "mirror": False,
    }  # fmt: skip
    for pair in ("jitter", "=3"):
        with pytest.raises(UsageError, match=f"--set is '{pair}', expected NAME=VALUE"):
            training.settings(None, None, False, False, [pair])


def test_a_run_goes_on_with_its_own_settings(data, weights, tmp_path):
    out = tmp_path / "run"
    result = training.train(data, "tiny", out, False, weights, {"streams": "infrared"}, QUICK)
    assert result["figure"] == "mAP@0.5"
    assert load_network(out / "best.safetensors")[0].config.fusion == "none"  # one stream has nothing to fuse
    store_thresholds(out / "best.safetensors", [0.25, 0.5, 0.75])
    again = training.train(None, "tiny", out, True, None, {}, {})
    assert load_network(out / "best.safetensors")[1]["thresholds"] == [0.25, 0.5, 0.75]
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    with pytest.raises(TrainingError, match=r"steps 2 there, 3 here\); give it the options that it was begun with"):
        training.train(None, "tiny", out, True, None, {}, {"steps": 3})
    with pytest.raises(ConfigError, match="unknown key 'stepps'"):
        training.train(data, "tiny", tmp_path / "other", False, weights, {}, {"stepps": 3})
    assert not (tmp_path / "other").exists()


def without(data, out, label):
    """The data set less the training clips of a class, which it still lists."""
    content = json.loads((data / "annotations.json").read_text())
    for name, entry in list(content["database"].items()):
        if entry["subset"] == "training" and any(one["label"] == label for one in entry["annotations"]):
            del content["database"][name]
    out.mkdir()
    (out / "annotations.json").write_text(json.dumps(content))
    (out / "videos").symlink_to(data / "videos")
    return out


def test_a_dry_run_writes_nothing(data, weights, tmp_path, monkeypatch):
    before = sorted(path for path in data.rglob("*"))
    monkeypatch.chdir(tmp_path)
    plan = training.dry_run(data, "tiny", weights, {}, {**QUICK, "freeze_towers": True})
    assert {name: about["clips"] for name, about in plan["subsets"].items()} == {
        "training": 5, "validation": 1, "testing": 3,
    }  # fmt: skip
    network = load_network(weights)[0]
    towers = sum(p.numel() for tower in network.towers() for p in tower.parameters())
    assert plan["parameters"]["frozen"] == towers
    assert plan["parameters"]["trained"] == sum(p.numel() for p in network.parameters()) - towers
    assert plan["seconds_per_step"] > 0
    assert plan["peak_memory_mb"] > 100
    assert plan["hours"] == pytest.approx(plan["seconds_per_step"] * 2 / 3600)
    assert sorted(path for path in data.rglob("*")) == before
    assert not list(tmp_path.iterdir())
    with pytest.raises(TrainingError, match="no instance of class 'hug' in 4 training clips"):
        training.dry_run(without(data, tmp_path / "five", "hug"), "tiny", None, {}, QUICK)
    with pytest.raises(UsageError, match="--dry-run makes no data"):
        training.dry_run(None, "tiny", None, {}, {})


@pytest.mark.slow
def test_recognition_from_clips_to_a_bundle(weights, tmp_path):
    """Bright clips and dark ones in two folders: trained, judged, exported, named."""
    root = tmp_path / "data"
    for subset, count in (("training", 4), ("testing", 2)):
        for label, gain in (("bright", 1.0), ("dark", 0.25)):
            (root / subset / label).mkdir(parents=True)
            for index in range(count):
                frames = (moving_scene(24 + 8 * index, 64, 64) * gain).astype("uint8")
                write_video(root / subset / label / f"{index}.mkv", frames, "ffv1", "gray")
    chosen = {
        **QUICK,
        "steps": 30,
        "batch": 4,
        "window_frames": 24,
        "validate_every": 15,
        "jitter": 0.0,
        "average": 0.8,
        "norm_windows": 8,
    }
    result = training.train(root, "tiny", tmp_path / "run", False, weights, {"task": "recognition"}, chosen)
    assert result["figure"] == "accuracy"
    assert result["test"] == 1.0
    report = evaluate(tmp_path / "run", root).to_dict()
    assert report["recognition"]["accuracy"] == 1.0
    assert report["recognition"]["map"] == 1.0
    assert report["recognition"]["confusion"]["dark"] == {"bright": 0, "dark": 2}
    bundle = export(tmp_path / "run", tmp_path / "r.infdet", ExportOptions(incremental=False)).path
    assert evaluate(bundle, root).recognition.accuracy == 1.0
    clips = [root / "testing" / label / "1.mkv" for label in ("bright", "dark")]
    found = list(detect(bundle, clips))
    assert [[d.label for d in one.detections] for one in found] == [["bright"], ["dark"]]
    assert found[0].detections[0].end_s == pytest.approx(32 / 25)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["result"]["test"]["accuracy"] == 1.0

"""`train` and `plan_training`: options, defaults, resuming, refused requests."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infdet_deploy.archive.detect import detect
from infdet_deploy.errors import ConfigError, TrainingError, UsageError
from infdet_deploy.evaluation.evaluate import evaluate
from infdet_deploy.exporting.export import export
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.model.weights import load_network, random_network, save_network
from infdet_deploy.runtime.chunks import chunks
from infdet_deploy.training.checkpoint import store_thresholds
from infdet_deploy.training.distributed import World
from infdet_deploy.training.options import TrainConfig, TrainOptions, parse_settings
from infdet_deploy.training.plan import _frames_of_a_step, _Measured
from infdet_deploy.training.train import plan_training, train
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


def test_options_become_settings():
    options = TrainOptions(
        steps=5, whole_clips=True, settings=parse_settings(["schedule=paper", "jitter=0", "mirror=false"])
    )
    set_here = {"steps": 5, "chunk_snippets": 32, "schedule": "paper", "jitter": 0, "mirror": False}
    assert options.changes() == {"batch": 8, "window_frames": 96, "learning_rate": 2e-3, **set_here}
    assert options.changes("tiny") == set_here
    for pair in ("jitter", "=3"):
        with pytest.raises(UsageError, match=f"--set is '{pair}', expected NAME=VALUE"):
            parse_settings([pair])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"preset": "huge"}, "no preset 'huge'"),
        ({"settings": {"stepps": 3}}, "unknown key 'stepps'"),
        ({"preset": "tiny", "fusion": "none"}, "two streams must be fused"),
        ({"flow_stride": 3}, "flow_stride is 3"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainOptions(**options)


def test_options_import_no_torch():
    code = "import sys, infdet_deploy.training.options; print('torch' in sys.modules, 'av' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split()[0] == "False"


def test_a_run_continues_with_its_own_settings(data, weights, tmp_path):
    out = tmp_path / "run"
    notes = []
    result = train(data, TrainOptions(out=out, weights=weights, streams="infrared", settings=QUICK))
    assert result.figure == "mAP@0.5"
    assert result.run == out
    assert load_network(out / "best.safetensors")[0].config.fusion == "none"  # one stream has nothing to fuse
    store_thresholds(out / "best.safetensors", [0.25, 0.5, 0.75])
    again = train(None, TrainOptions(out=out, resume=True), lambda progress: notes.append(progress.note))
    assert load_network(out / "best.safetensors")[1]["thresholds"] == [0.25, 0.5, 0.75]
    assert again.to_dict() | {"seconds": 0} == result.to_dict() | {"seconds": 0}
    assert f"{out}: resuming after step 2 of 2" in notes
    with pytest.raises(TrainingError, match=r"steps 2 there, 3 here\); use the options that it was started with"):
        train(None, TrainOptions(out=out, resume=True, steps=3))


def test_resuming_a_missing_run_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="runs/typo: no training run to resume there"):
        train(None, TrainOptions(out=Path("runs/typo"), resume=True))
    assert not list(tmp_path.iterdir())


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


def test_a_plan_writes_nothing(data, weights, tmp_path, monkeypatch):
    before = sorted(path for path in data.rglob("*"))
    monkeypatch.chdir(tmp_path)
    seen = []
    options = TrainOptions(weights=weights, freeze_towers=True, settings=QUICK)
    plan = plan_training(data, options, seen.append)
    assert {name: subset.clips for name, subset in plan.subsets.items()} == {
        "training": 5, "validation": 1, "testing": 3,
    }  # fmt: skip
    network = load_network(weights)[0]
    towers = sum(p.numel() for tower in network.towers() for p in tower.parameters())
    assert plan.frozen_parameters == towers
    assert plan.trained_parameters == sum(p.numel() for p in network.parameters()) - towers
    assert plan.seconds_per_step > 0
    assert plan.peak_memory_mb > 100
    assert plan.hours == pytest.approx(plan.seconds_per_step * 2 / 3600)
    assert plan.to_dict()["subsets"]["testing"]["clips"] == 3
    assert [(p.phase, p.step, p.steps) for p in seen] == [("measure", step, 3) for step in range(4)]
    assert "without writing anything" in seen[0].note
    assert sorted(path for path in data.rglob("*")) == before
    assert not list(tmp_path.iterdir())
    with pytest.raises(TrainingError, match="no instance of class 'hug' in 4 training clips"):
        plan_training(without(data, tmp_path / "five", "hug"), TrainOptions(settings=QUICK))
    with pytest.raises(UsageError, match="--dry-run makes no data"):
        plan_training()
    with pytest.raises(UsageError, match="exclude each other"):
        plan_training(data, TrainOptions(resume=True))


def test_extrapolation_of_a_plan():
    measured = _Measured(seconds=(1.0, 1.5), peak_bytes=(1000, 1800), trained=1, parameters=1)
    assert measured.seconds_at(512) == pytest.approx(1 + 0.5 * 480 / 32)
    assert measured.bytes_at(128) == pytest.approx(1000 + 800 * 96 / 32)
    assert measured.bytes_at(16) == 1800  # never below what was measured
    windows = TrainConfig(batch=4, window_frames=128)
    assert _frames_of_a_step(windows, [500], World(0, 2)) == (256, 256)
    whole = TrainConfig(batch=4, chunk_snippets=32)
    step_frames, graph_frames = _frames_of_a_step(whole, [300, 1002], World())
    assert graph_frames == 376  # 32 snippets, their last 8 frames, and a halo of 56 on both sides
    cuts = [stop - start for start, stop, _ in chunks(1000, 32)]
    assert step_frames == 4 * (300 + sum(cuts)) / 2


@pytest.mark.slow
def test_recognition_from_clips_to_a_bundle(weights, tmp_path):
    """Two folders, of bright and dark clips: train, evaluate, export, detect."""
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
    options = TrainOptions(
        out=tmp_path / "run", weights=weights, task="recognition", streams="infrared", settings=chosen
    )
    result = train(root, options)
    assert result.figure == "accuracy"
    assert result.test_value == 1.0
    report = evaluate(tmp_path / "run", root).to_dict()
    assert report["recognition"]["accuracy"] == 1.0
    assert report["recognition"]["map"] == 1.0
    assert report["recognition"]["confusion"]["dark"] == {"bright": 0, "dark": 2}
    bundle = export(tmp_path / "run", tmp_path / "r.infdet", ExportOptions(formats=("onnx",), incremental=False)).path
    assert evaluate(bundle, root).recognition.accuracy == 1.0
    clips = [root / "testing" / label / "1.mkv" for label in ("bright", "dark")]
    found = list(detect(bundle, clips))
    assert [[d.label for d in one.detections] for one in found] == [["bright"], ["dark"]]
    assert found[0].detections[0].end_s == pytest.approx(32 / 25)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["result"]["test"]["accuracy"] == 1.0

"""Training: reproducible from its seed, resumable, and which runs are refused."""

import dataclasses
import json
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.detections import DetectionRule, default_thresholds
from infdet_deploy.errors import ConfigError, Interrupted, TrainingError, UsageError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network, random_network
from infdet_deploy.training import loop, run_folder
from infdet_deploy.training.dataset import PreparedClip, hold_out, load_dataset, load_parts, snippet_labels
from infdet_deploy.training.interrupts import deferred_interrupts
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.validation import base_rate_loss, evaluate_network
from infdet_deploy.training.windows import Windows

MODEL = ModelConfig(size=64, channel_divisor=8)
CONFIG = TrainConfig(
    steps=6, batch=2, window_frames=32, validate_every=3, save_every=3, norm_windows=2, precision="float32"
)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def data(nine_clips, tmp_path_factory):
    return shutil.copytree(nine_clips, tmp_path_factory.mktemp("loop") / "data")


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """A run of six steps: its folder, its result and its progress."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    seen = []
    return out, loop.run_training(data, out, MODEL, CONFIG, on_progress=seen.append), seen


def test_run_folder(data, straight):
    out, result, seen = straight
    assert sorted(path.name for path in out.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "run.json",
        "state.safetensors",
    ]
    assert result.steps == 6
    assert [p.step for p in seen if p.phase == "train"] == [1, 2, 3, 4, 5, 6]
    assert [p.step for p in seen if p.validation] == [3, 6]
    assert seen[-1].seconds_left == 0
    run = json.loads((out / "run.json").read_text())
    assert [entry["step"] for entry in run["history"]] == [3, 6]
    assert TrainConfig.from_json(run["training"]) == CONFIG
    network, extra = load_network(result.best)
    assert network.config == MODEL
    assert extra == {
        "thresholds": list(result.thresholds),
        "mean_duration_s": list(result.mean_duration_s),
        "frame_mode": "resize",
        "fps": 8.0,
        "ends": "interpolated",
    }
    validation = load_parts(open_dataset(data), MODEL, CONFIG, lambda done, total: None).validation
    rule = DetectionRule(default_thresholds(MODEL.classes, "interpolated"), result.mean_duration_s, ends="interpolated")
    found = evaluate_network(network, validation, rule)
    assert found["loss"] == pytest.approx(result.metrics["loss"], rel=1e-4)
    assert result.test is not None
    rule = dataclasses.replace(rule, thresholds=result.thresholds)
    found = evaluate_network(network, load_dataset(data, "testing", MODEL, ends="interpolated"), rule)
    assert found["loss"] == pytest.approx(result.test["loss"], rel=1e-4)
    assert found["map"] == result.test["map"]
    assert run_folder.newest_run(out.parent) == out


def test_resumed_run_equals_a_straight_one(data, straight, tmp_path):
    def stop(progress):
        if progress.phase == "train" and progress.step == 4:  # one step past what was saved
            raise Stop

    with pytest.raises(Stop):
        loop.run_training(data, tmp_path / "run", MODEL, CONFIG, on_progress=stop)
    seen = []
    loop.run_training(data, tmp_path / "run", MODEL, CONFIG, resume=True, on_progress=seen.append)
    assert [p.step for p in seen if p.loss is not None] == [4, 5, 6]
    for name in ("last.safetensors", "best.safetensors", "state.safetensors"):
        wanted, found = load_file(straight[0] / name), load_file(tmp_path / "run" / name)
        assert wanted.keys() == found.keys()
        for key in wanted:
            torch.testing.assert_close(found[key], wanted[key], rtol=0, atol=0, msg=f"{name} {key}")


def test_loss_falls(data, tmp_path):
    config = dataclasses.replace(CONFIG, steps=12, validate_every=12, jitter=0.0, warmup=0.0)
    seen = []
    loop.run_training(data, tmp_path / "run", MODEL, config, on_progress=seen.append)
    lost = [p.loss for p in seen if p.phase == "train"]
    assert np.mean(lost[-3:]) < 0.9 * np.mean(lost[:3])


def test_frozen_towers_do_not_change(data, tmp_path):
    config = dataclasses.replace(CONFIG, steps=2, validate_every=2, freeze_towers=True, schedule="paper")
    start = random_network(MODEL, seed=3)
    result = loop.run_training(data, tmp_path / "run", MODEL, config, initial=start)
    before, after = start.state_dict(), load_network(result.last)[0].state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if "tower" in name} <= same
    assert "classifier.output.weight" not in same
    assert "fen.conv1.weight" not in same


def test_whole_clips(data, tmp_path):
    config = dataclasses.replace(CONFIG, steps=2, validate_every=2, chunk_snippets=3)
    start = random_network(MODEL, seed=3)
    result = loop.run_training(data, tmp_path / "run", MODEL, config, initial=start)
    before, after = start.state_dict(), load_network(result.last)[0].state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.endswith(("running_mean", "running_var"))} <= same
    assert not [name for name in same if name.endswith("conv3d.weight")]


def test_whole_clips_are_augmented_and_cut_to_four_frames():
    clip = _clip(43, (Instance("drop", 1.2, 2.5),))  # a snippet lasts 1.075 s
    config = dataclasses.replace(CONFIG, batch=3, jitter=0.0)
    seeds = []
    for step in range(2):
        for name, seed, found in Windows([clip], MODEL, config).whole(step):
            seeds.append(seed)
            assert (name, found.frames, found.length) == ("c", 40, 5)
            level = ((found.grey(8, 30)[:, 0, 0] + 1) / 2 * 255).round().int()
            assert torch.equal(level, torch.arange(8, 30, dtype=torch.int32))
            assert found.target.shape == (39, 3, 16, 16)
            assert found.labels[:, 0].tolist() == [0, 0, 1, 0]
    assert seeds == [0, 1, 2, 3, 4, 5]


def test_loss_that_is_not_finite_names_the_clip(data, tmp_path):
    start = random_network(MODEL)
    with torch.no_grad():
        start.classifier.output.bias[0] = torch.nan
    with pytest.raises(TrainingError, match=r"not finite at step 1, clip '(drop|fight|hug)_000\d'"):
        loop.run_training(data, tmp_path / "run", MODEL, CONFIG, initial=start)


def test_refused_runs(data, straight, tmp_path):
    out = straight[0]
    with pytest.raises(TrainingError, match="contains a training run already"):
        loop.run_training(data, out, MODEL, CONFIG)
    with pytest.raises(UsageError, match="no training run to resume"):
        loop.run_training(data, tmp_path / "none", MODEL, CONFIG, resume=True)
    with pytest.raises(TrainingError, match=r"another training configuration \(seed 0 there, 1 here\)"):
        loop.run_training(data, out, MODEL, dataclasses.replace(CONFIG, seed=1), resume=True)
    other = with_subsets(data, tmp_path / "other", lambda name, entry: None)
    with pytest.raises(TrainingError, match=r"the run was started on \S+data, not on \S+other"):
        loop.run_training(other, out, MODEL, CONFIG, resume=True)
    with pytest.raises(TrainingError, match="no training run there"):
        run_folder.newest_run(tmp_path)


def with_subsets(data, folder, change):
    """A copy of the data with each annotation changed by `change(name, entry)`."""
    shutil.copytree(data, folder)
    content = json.loads((folder / "annotations.json").read_text())
    for name, entry in content["database"].items():
        change(name, entry)
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_own_validation_clips_and_no_test_clips(data, tmp_path):
    folder = with_subsets(
        data, tmp_path / "data", lambda name, e: e.update(subset=e["subset"].replace("testing", "validation"))
    )
    config = dataclasses.replace(CONFIG, steps=1, validate_every=1)
    result = loop.run_training(folder, tmp_path / "run", MODEL, config)
    assert result.test is None
    clips = load_dataset(folder, "validation", MODEL, ends="interpolated")
    rule = DetectionRule(default_thresholds(MODEL.classes, "interpolated"), result.mean_duration_s, ends="interpolated")
    found = evaluate_network(load_network(result.best)[0], clips, rule)
    assert found["loss"] == pytest.approx(result.metrics["loss"], rel=1e-4)


def test_test_clips_without_instances_are_not_evaluated(data, tmp_path):
    folder = with_subsets(
        data, tmp_path / "data", lambda name, e: e["subset"] == "testing" and e.update(annotations=[])
    )
    config = dataclasses.replace(CONFIG, steps=1, validate_every=1)
    assert loop.run_training(folder, tmp_path / "run", MODEL, config).test is None


def test_without_measured_norms_the_trained_ones_are_kept(data, tmp_path):
    config = dataclasses.replace(CONFIG, steps=2, validate_every=2, norm_windows=0)
    network, _ = load_network(loop.run_training(data, tmp_path / "run", MODEL, config).last)
    assert float(network.infrared_tower.Conv3d_1a_7x7.bn.running_mean.abs().max()) > 0


def test_damaged_state(data, straight, tmp_path):
    (tmp_path / "run.json").write_bytes((straight[0] / "run.json").read_bytes())
    (tmp_path / "state.safetensors").write_bytes((straight[0] / "state.safetensors").read_bytes()[:5000])
    with pytest.raises(TrainingError, match="not the state of this training run"):
        loop.run_training(data, tmp_path, MODEL, CONFIG, resume=True)


def test_validation_clips_come_from_every_class():
    clips = [
        Clip(f"{label}{number}", 2.0, None, (Instance(label, 0.5, 1.5),))
        for number in range(15)
        for label in MODEL.classes
    ]
    kept, held = hold_out(clips, 0.1)
    assert [clip.name for clip in held] == ["drop4", "fight4", "hug4", "drop14", "fight14", "hug14"]
    assert len(kept) == 39
    assert {clip.name for clip in (*kept, *held)} == {clip.name for clip in clips}
    assert [[clip.name for clip in part] for part in hold_out(clips[:4], 0.0)] == [
        ["drop0", "fight0", "hug0"],
        ["drop1"],
    ]
    empty = dataclasses.replace(clips[0], instances=())
    with pytest.raises(TrainingError, match="4 training clips: holding one out for validation would leave"):
        hold_out([*clips[:3], empty], 0.5)  # each is the only one of its class


def test_config():
    assert TrainConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG
    with pytest.raises(ConfigError, match="unknown key 'epochs'"):
        TrainConfig.from_json({"epochs": 3})
    with pytest.raises(ConfigError, match="must differ"):
        TrainConfig(validation_subset="testing")
    with pytest.raises(ConfigError, match="window_frames is 20"):
        TrainConfig(window_frames=20)
    with pytest.raises(ConfigError, match="'schedule' is 'step'"):
        TrainConfig.from_json({"schedule": "step"})


def _clip(frames: int, instances: tuple[Instance, ...]) -> PreparedClip:
    """A clip at 8 frames/s; all pixels of frame t have level t."""
    annotation, duration_s = Clip("c", frames / 8, None, instances), frames / 8
    pictures = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None], (frames, 64, 64))
    flow = np.broadcast_to(np.float16(0.5), (frames - 1, 3, 16, 16))
    labels = snippet_labels(annotation, MODEL.classes, frames, duration_s, frames // 8 - 1, "published")
    return PreparedClip("c", pictures, flow, labels, duration_s, annotation)


def test_windows_keep_frames_and_labels_together():
    clip = _clip(160, (Instance("drop", 4.5, 9.5), Instance("hug", 12.5, 14.5)))
    config = dataclasses.replace(CONFIG, jitter=0.0, batch=4, ends="published")
    windows = Windows([clip], MODEL, config)
    starts = set()
    for step in range(6):
        batch = windows.batch(step)
        for sample in range(4):
            level = ((batch.grey[sample, :, 0, 0] + 1) / 2 * 255).round().int()
            assert torch.equal(level, torch.arange(32) + level[0])
            snippet, rest = divmod(int(level[0]), 8)
            assert rest == 0
            starts.add(snippet)
            whole = torch.from_numpy(np.vstack([clip.labels, np.zeros((1, 3), np.float32)]))
            assert torch.equal(batch.labels[sample], whole[snippet : snippet + 3])
        assert batch.length.tolist() == [4] * 4
        assert batch.target[:, :, 1].unique().tolist() == [0.5]
        assert set(batch.target[:, :, 0].unique().tolist()) <= {0.5, -0.5}  # mirrored
    assert len(starts) > 8


def test_balanced_windows_show_every_class_equally_often():
    busy = _clip(320, (Instance("drop", 4.5, 9.5), *(Instance("hug", s, s + 0.5) for s in range(20, 38))))
    empty = [dataclasses.replace(_clip(320, ()), name=f"empty {i}") for i in range(30)]
    config = dataclasses.replace(CONFIG, batch=4, jitter=0.0)
    shown = {}
    for balance in (0.0, 0.5, 1.0):
        windows = Windows([busy, *empty], MODEL, dataclasses.replace(config, balance=balance))
        batches = [windows.batch(step) for step in range(100)]
        labels = torch.cat([batch.labels for batch in batches]).amax(dim=1) > 0
        shown[balance] = labels.float().mean(dim=0)
    assert shown[0.0].max() < 0.1
    assert shown[0.5][[0, 2]].min() > 0.2
    assert shown[1.0][[0, 2]].min() > 0.4
    assert shown[1.0][1] == 0  # no fight in these clips


def test_windows_with_interpolated_ends_begin_at_any_frame():
    clip = _clip(160, (Instance("drop", 4.5, 9.5),))
    windows = Windows([clip], MODEL, dataclasses.replace(CONFIG, jitter=0.0, shift=0.0, batch=4))
    starts = set()
    for step in range(12):
        batch = windows.batch(step)
        for sample in range(4):
            start = int(((batch.grey[sample, 0, 0, 0] + 1) / 2 * 255).round())
            starts.add(start)
            centres_s = (start + 8 * torch.arange(3) + 8) / 8
            inside = ((centres_s + 0.5).clamp(max=9.5) - (centres_s - 0.5).clamp(min=4.5)).clamp(0, 1)
            torch.testing.assert_close(batch.labels[sample, :, 0], inside)
    assert len({start % 8 for start in starts}) == 8


def test_quarter_turns_turn_frames_and_flow_together():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (32, 64, 64)).astype(np.uint8)
    flow = rng.normal(0, 0.3, (31, 3, 16, 16)).astype(np.float16)
    clip = dataclasses.replace(_clip(32, ()), frames=pictures, flow=flow)
    config = dataclasses.replace(CONFIG, jitter=0.0, shift=0.0, mirror=False, rotate=True, batch=4)
    windows, seen = Windows([clip], MODEL, config), set()
    for step in range(6):
        batch = windows.batch(step)
        for sample in range(4):
            levels = ((batch.grey[sample] + 1) / 2 * 255).round().numpy().astype(np.uint8)
            turns = next(k for k in range(4) if np.array_equal(levels, np.rot90(pictures, k, (1, 2))))
            seen.add(turns)
            turned = np.rot90(flow.astype(np.float32), turns, (2, 3))
            u, v, length = turned[:, 0], turned[:, 1], turned[:, 2]
            expected = {0: (u, v), 1: (v, -u), 2: (-u, -v), 3: (-v, u)}[turns]
            np.testing.assert_array_equal(batch.target[sample], np.stack((*expected, length), axis=1))
    assert seen == {0, 1, 2, 3}


def test_contrast_of_background_levels_changes_around_the_background():
    pictures = np.full((32, 32, 32), 64, np.uint8)
    pictures[:, :8] = 114
    model = dataclasses.replace(MODEL, size=32, levels="background", streams="infrared", fusion="none")
    clip = dataclasses.replace(_clip(32, ()), frames=pictures, flow=np.empty((31, 0, 8, 8), np.float16))
    config = dataclasses.replace(CONFIG, jitter=0.2, shift=0.0, mirror=False, batch=16)
    grey = (Windows([clip], model, config).batch(0).grey + 1) / 2 * 255
    assert (grey[:, :, 8:] - 64).abs().max() < 1e-3
    assert 40 <= grey[:, 0, 0, 0].min() - 64 < 45
    assert 55 < grey[:, 0, 0, 0].max() - 64 <= 60


def test_a_warning_while_nothing_is_learnt(data, tmp_path):
    seen = []
    config = dataclasses.replace(CONFIG, learning_rate=1e-9, steps=3)
    loop.run_training(data, tmp_path / "run", MODEL, config, on_progress=seen.append)
    warnings = [p.note for p in seen if p.note.startswith("learnt nothing yet: after step 3 the classification loss")]
    assert len(warnings) == 1


def test_base_rate_loss():
    clip = _clip(160, (Instance("drop", 4.5, 9.5),))
    share = clip.labels.mean(axis=0)[0]
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) * 19 / 20  # 19 snippets, ⌊T/8⌋ = 20
    assert base_rate_loss([clip]) == pytest.approx(entropy, abs=1e-3)


def test_short_clips_are_padded():
    batch = Windows([_clip(20, ())], MODEL, dataclasses.replace(CONFIG, batch=1)).batch(0)
    assert batch.grey.shape == (1, 32, 64, 64)
    assert batch.labels.shape == (1, 3, 3)
    assert (batch.length.tolist(), batch.pairs.tolist()) == ([2], [19])
    assert torch.equal(batch.grey[:, 20:], batch.grey[:, 19:20].expand(-1, 12, -1, -1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_its_step_and_says_how_to_resume(data, straight, tmp_path, number):
    def interrupt(progress):
        if progress.phase == "train" and progress.step == 1:
            signal.raise_signal(number)

    out = tmp_path / "run"
    message = rf"interrupted at step 2 of 6; resume with: infdet-deploy train --out {out} --resume"
    with pytest.raises(Interrupted, match=message) as stopped:
        loop.run_training(data, out, MODEL, CONFIG, on_progress=interrupt)
    assert stopped.value.exit_status == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if number == signal.SIGINT:
        seen = []
        loop.run_training(data, out, MODEL, CONFIG, resume=True, on_progress=seen.append)
        assert f"{out}: resuming after step 2 of 6" in [progress.note for progress in seen]
        assert [p.step for p in seen if p.phase == "train" and p.loss is not None] == [3, 4, 5, 6]
        expected, found = (load_file(path / "state.safetensors") for path in (straight[0], out))
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_second_interrupt_stops_at_once():
    with deferred_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

"""Options of a run: curves, early stopping, gradient clipping, loss scale."""

import dataclasses

import pytest
import torch

from infdet_deploy.errors import ConfigError, InfdetError
from infdet_deploy.model.network import append_zero_flow
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.training import checkpoint, loop
from infdet_deploy.training import tensorboard as board
from infdet_deploy.training.distributed import World
from infdet_deploy.training.options import TrainConfig, TrainOptions
from infdet_deploy.training.schedule import is_over, learning_rate, parameter_groups, reduce_on_plateau
from infdet_deploy.training.step import first_state
from infdet_deploy.training.validation import forward, headline, rank
from tests.training.test_loop import CONFIG, MODEL, data  # noqa: F401


def test_curves_for_tensorboard(data, tmp_path):  # noqa: F811
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    seen = []
    config = dataclasses.replace(CONFIG, steps=2, validate_every=2)
    loop.run_training(data, tmp_path / "run", MODEL, config, on_progress=seen.append, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / board.FOLDER))
    events.Reload()
    steps = [progress for progress in seen if progress.phase == "train"]
    for name, field in (("loss/total", "loss"), ("loss/flow", "flow"), ("gradient_norm", "gradient_norm")):
        assert [(e.step, e.value) for e in events.Scalars(name)] == [
            (p.step, pytest.approx(getattr(p, field), rel=1e-6)) for p in steps
        ]
    validation = steps[-1].validation
    assert events.Scalars("validation/loss")[0].value == pytest.approx(validation["loss"], rel=1e-6)
    assert events.Scalars("validation/mAP@0.5")[0].value == pytest.approx(validation["map"]["0.5"], rel=1e-6)
    with board.TensorBoard(tmp_path / "run", True) as again:  # a run killed after step 2 continues from step 1
        again.start(1)
        again.step(2, (9.0, 9.0, 9.0), 0.1, 1.0)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / board.FOLDER))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/total")][1:] == [(2, 9.0)]


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(InfdetError, match="tensorboard"):
        board.TensorBoard(tmp_path, True)
    board.TensorBoard(tmp_path, False)


def test_stopping_early(data, tmp_path, monkeypatch):  # noqa: F811
    """All validations rank equal, so with patience 2 the third one is the last."""
    monkeypatch.setattr(loop, "rank", lambda metrics: [0.5, -1.0])
    config = dataclasses.replace(CONFIG, steps=6, validate_every=1, save_every=10, patience=2)
    result = loop.run_training(data, tmp_path / "run", MODEL, config)
    assert result.steps == 3
    assert is_over(config, {"step": 3, "worse": 2})
    assert not is_over(config, {"step": 3, "worse": 1})
    assert not is_over(CONFIG, {"step": 3, "worse": 99})


def test_learning_rate_schedules():
    config = TrainConfig(steps=100, warmup=0.1, learning_rate=1.0)
    rates = [learning_rate(config, step, 10, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.5)
    assert max(rates) == pytest.approx(rates[9])
    paper = dataclasses.replace(config, schedule="paper", batch=4)
    assert learning_rate(paper, 50, 12, 1.0) == pytest.approx(6 * 0.01 * 4 / 12)
    values = {"least": None, "scale": 1.0, "step": 0}
    for step, loss in ((0, 1.0), (10, 2.0), (29, 1.5), (30, 1.5), (31, 0.5)):
        values["step"] = step
        reduce_on_plateau(values, loss, steps_per_epoch=3)
    assert values["scale"] == pytest.approx(0.1)
    assert values["least"] == [0.5, 31]


def test_the_fen_has_its_own_learning_rate():
    state = first_state(MODEL, CONFIG, None, World())
    fen, others = parameter_groups(state.network, CONFIG)
    assert (fen["times"], others["times"]) == (10.0, 1.0)
    assert {id(p) for p in fen["params"]} == {id(p) for p in state.network.fen.parameters()}
    frozen = first_state(MODEL, dataclasses.replace(CONFIG, freeze_towers=True), None, World())
    named = {id(p): name for name, p in frozen.network.named_parameters()}
    assert not [named[id(p)] for g in frozen.optimizer.param_groups for p in g["params"] if "tower" in named[id(p)]]


def test_the_loss_scale_is_part_of_the_state(tmp_path):
    state, other = (first_state(MODEL, CONFIG, None, World()) for _ in range(2))
    state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    other.scaler = torch.amp.GradScaler("cpu")
    state.scaler.scale(torch.ones(()))
    checkpoint.save_state(tmp_path, state)
    checkpoint.load_state(tmp_path, other)
    assert other.scaler.state_dict() == state.scaler.state_dict()
    assert other.scaler.state_dict()["scale"] == 8.0


def test_invalid_settings_are_refused():
    for values, said in (
        ({"precision": "float16"}, "float16 is for CUDA, device is cpu"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0, expected 0 or more"),
        ({"fen_rate": 0.0}, "fen_rate is 0.0"),
        ({"teacher": 1.0}, "teacher is 1.0"),
        ({"patience": -1}, "patience is -1"),
    ):
        with pytest.raises(ConfigError, match=said):
            TrainConfig(**values)
    TrainConfig(precision="float16", device="cuda", clip_norm=0.0)


def test_steps_follow_from_the_number_of_actions():
    array = TrainOptions(preset="array")
    config = TrainConfig.from_json(array.changes())
    assert (config.batch, config.window_frames, config.rotate) == (16, 80, True)
    assert array.steps_for(520, config) == 975  # each action 15 times, in half of 16 windows a step
    assert array.steps_for(10, config) == 360
    assert array.steps_for(10**6, config) == 10_000
    assert TrainOptions(preset="tiny").steps_for(720, TrainConfig()) == 1080
    assert TrainOptions().steps_for(720, TrainConfig()) == 2160
    assert TrainOptions().steps_for(720, TrainConfig(), "tiny") == 1080
    for options in (TrainOptions(steps=7), TrainOptions(settings={"steps": 7})):
        assert options.steps_for(10**6, TrainConfig.from_json(options.changes())) == 7
    given = TrainOptions(preset="array", settings={"batch": 4})
    assert TrainConfig.from_json(given.changes()).batch == 4


def test_streams_choose_a_fusion_that_fits():
    for name, streams, fusion in (("array", "both", "sca"), ("array", "flow", "none"), ("tiny", "infrared", "none")):
        model = TrainOptions(preset=name, streams=streams).change_model(preset(name))
        assert (model.streams, model.fusion) == (streams, fusion)


def test_headline_metric_and_rank():
    steady, lucky = ({"map": {"0.1": a, "0.5": b}, "loss": 1.0} for a, b in ((0.9, 0.8), (0.6, 0.85)))
    assert rank(steady) > rank(lucky)
    assert headline({"map": {"0.5": 0.25}, "loss": 2.0}) == ("mAP@0.5", 0.25)
    assert headline({"accuracy": 0.75, "map": 0.5, "loss": 2.0}) == ("accuracy", 0.75)
    assert rank({"accuracy": 0.75, "loss": 2.0}) > rank({"accuracy": 0.75, "loss": 3.0})


def test_with_a_teacher_the_flow_tower_sees_the_target():
    network = random_network(MODEL, seed=3)
    grey, length = torch.rand(1, 24, 64, 64) * 2 - 1, torch.tensor([3])
    target = torch.rand(1, 23, 3, 16, 16) * 2 - 1
    with torch.inference_mode():
        logits, flow = forward(network, grey, target, length, torch.float32, teach=True)
        given = network(grey, length, append_zero_flow(target))
        own, estimate = forward(network, grey, target, length, torch.float32)
    assert torch.equal(logits, given.logits)
    assert torch.equal(flow, estimate)  # the FEN learns all the same
    assert not torch.equal(logits, own)
    assert torch.equal(own, network(grey, length).logits)

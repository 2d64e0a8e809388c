"""Training: windows of the clips through the network, whole clips to judge it by."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from infdet_deploy.config import read_json
from infdet_deploy.datasets import open_dataset
from infdet_deploy.detections import DetectionRule, default_thresholds
from infdet_deploy.errors import TrainingError
from infdet_deploy.files import write_json
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network
from infdet_deploy.training import checkpoint
from infdet_deploy.training.clip_cache import FRAME_MODE
from infdet_deploy.training.dataset import Parts, load_parts
from infdet_deploy.training.distributed import World, joined
from infdet_deploy.training.features import are_fixed, infrared_features
from infdet_deploy.training.placement import arrange
from infdet_deploy.training.schedule import is_over, learning_rate, plateau
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.stepping import first_state, take_step
from infdet_deploy.training.tensorboard import Board
from infdet_deploy.training.validation import judge, measure_norms, rank, thresholds
from infdet_deploy.training.windows import Windows


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `prepare` counts clips, `train` counts steps; losses are None where none is known yet."""

    phase: Literal["prepare", "train"]
    step: int
    steps: int
    loss: float | None = None
    classification: float | None = None
    flow: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    validation: dict[str, Any] | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """best, last: the networks' files. steps: done, fewer than asked for where it stopped early. metrics: of the best
    on the validation clips, with the default thresholds.

    test: of the best on the test clips, which nothing was chosen by, with the fitted thresholds; None where the data
    set has none. seconds: what each phase took in this call.
    """

    best: Path
    last: Path
    steps: int
    metrics: dict[str, Any]
    test: dict[str, Any] | None
    thresholds: tuple[float, ...]
    mean_duration_s: tuple[float, ...]
    seconds: dict[str, float]


def train(
    data: Path | str,
    out: Path | str,
    model: ModelConfig,
    config: TrainConfig | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    initial: InfDetNet | None = None,
    tensorboard: bool = False,
) -> TrainResult:
    """Train on the data set folder `data`, into the run folder `out` (see `checkpoint`).

    resume: go on from the state in `out`, which must be of the same configurations; the result is the same as without
    the interruption. initial: the network to start from, a seeded random one by default; it is left unchanged.
    tensorboard: write its event files into the run folder. Started by torchrun, each process calls this with the same
    arguments (see `parallel`); the first one writes and reports.

    Raises TrainingError for a data set or run that does not fit, an `out` that already holds a run, and a loss that is
    not finite (naming the clip); errors of `load_dataset`; InfdetError where TensorBoard is not installed.
    """
    data, out, config = Path(data), Path(out), config or TrainConfig()
    if initial is not None and initial.config != model:
        raise TrainingError("the initial network has another configuration than the one to train")
    described = {"format": 1, "model": model.to_json(), "training": config.to_json(), "data": str(data.resolve())}
    with joined(config.device) as world, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        world.check_batch(config.batch)
        if resume:
            checkpoint.check_run(out, described)
        elif (out / checkpoint.RUN).exists():
            raise TrainingError(f"{out}: holds a training run already; resume it or choose another folder")
        world.wait()
        torch.manual_seed(config.seed)
        report = on_progress if on_progress is not None and world.leads else lambda progress: None
        with Board(out, tensorboard and world.leads) as board:
            run = _Run(data, out, model, config, described, report, world, board)
            return run.train(initial, resume)


class _Run:
    """One call of `train`: what its phases share."""

    def __init__(
        self,
        data: Path,
        out: Path,
        model: ModelConfig,
        config: TrainConfig,
        described: dict[str, Any],
        report: Callable[[Progress], None],
        world: World,
        board: Board,
    ) -> None:
        self.out, self.model, self.config, self.described, self.report = out, model, config, described, report
        self.world, self.board = world, board
        self.seconds = {"prepare": 0.0, "train": 0.0, "validate": 0.0}
        begun = time.monotonic()
        self.data = open_dataset(data)
        with world.leader_first():
            self.parts: Parts = load_parts(self.data, model, config, self._prepared)
        self.windows = Windows(self.parts.training, model, config, world)
        self.seconds["prepare"] = time.monotonic() - begun

    def _prepared(self, done: int, total: int) -> None:
        self.report(Progress("prepare", done, total))

    def train(self, initial: InfDetNet | None, resume: bool) -> TrainResult:
        config = self.config
        state = first_state(self.model, config, initial, self.world)
        values = state.values
        if self.world.leads:
            checkpoint.clear_leftovers(self.out)
        if resume:
            checkpoint.load_state(self.out, state)
        elif self.world.leads:
            checkpoint.save_state(self.out, state)  # first: with run.json there, the run can be resumed
            write_json(self.out / checkpoint.RUN, {**self.described, "history": []})
        network = state.network
        if are_fixed(self.model, config) and isinstance(network, InfDetNet) and network.infrared_tower is not None:
            tower, clips = network.infrared_tower, self.parts.training
            with self.world.leader_first():
                self.windows.infrared = infrared_features(self.data, clips, self.model, tower, self._prepared)
        self.board.start(values["step"])
        began, first = time.monotonic(), values["step"]
        while not is_over(config, values):
            step = values["step"]
            begun = time.monotonic()
            rate = learning_rate(config, step, len(self.parts.training), values["scale"])
            found, norm = take_step(state, self.windows, config, step, rate, self.world)
            values["step"] = step = step + 1
            self.seconds["train"] += time.monotonic() - begun
            self.board.step(step, found, rate, norm)
            validation = None
            if step % config.validate_every == 0 or step == config.steps:
                validation = self._validate(state)
            if self.world.leads and (validation or step % config.save_every == 0):
                checkpoint.save_state(self.out, state)
            left_s = (time.monotonic() - began) / (step - first) * (config.steps - step)
            self.report(Progress("train", step, config.steps, *found, rate, norm, validation, left_s))
        return self._finish(state)

    def _validate(self, state: checkpoint.TrainingState) -> dict[str, Any]:
        """Judge the averaged network on the validation clips, keep it as last and perhaps as best."""
        begun = time.monotonic()
        averaged, values = state.averaged, state.values
        assert isinstance(averaged, InfDetNet)
        if self.world.leads:
            if not self.config.freeze_towers and not self.config.chunk_snippets:
                measure_norms(averaged, self.windows, self.config)
            rule = DetectionRule(default_thresholds(self.model.classes), self.parts.mean_s)
            metrics = judge(averaged, self.parts.validation, rule, self.config.device)
            values["history"].append({"step": values["step"], **metrics})
            kept = (rule.thresholds, self.parts.mean_s, FRAME_MODE, self.parts.fps)
            checkpoint.save_trained(self.out / checkpoint.LAST, averaged, self.model, *kept)
            values["worse"] += 1
            if values["best"] is None or rank(metrics) > values["best"]:
                values["best"], values["worse"] = rank(metrics), 0
                checkpoint.save_trained(self.out / checkpoint.BEST, averaged, self.model, *kept)
            plateau(values, metrics["loss"], self.windows.steps_per_epoch)
            write_json(self.out / checkpoint.RUN, {**self.described, "history": values["history"]})
            self.board.validation(values["step"], metrics)
        values.update(self.world.agree(values))
        self.seconds["validate"] += time.monotonic() - begun
        return values["history"][-1]

    def _finish(self, state: checkpoint.TrainingState) -> TrainResult:
        """Fit the thresholds on all clips but the test's, write them into both networks' files, judge the best."""
        begun, parts = time.monotonic(), self.parts
        best, last = self.out / checkpoint.BEST, self.out / checkpoint.LAST
        values = state.values
        # A run that had ended keeps its result, and thresholds that were fitted anew since.
        if self.world.leads and "result" not in read_json(self.out / checkpoint.RUN, "run"):
            network, history = arrange(load_network(best)[0], self.config), values["history"]
            fitted = thresholds(network, [*parts.training, *parts.validation], parts.mean_s, self.config)
            for path, trained in ((best, network), (last, state.averaged)):
                checkpoint.save_trained(path, trained, self.model, fitted, parts.mean_s, FRAME_MODE, parts.fps)
            metrics = next(entry for entry in history if rank(entry) == values["best"])
            test = (
                judge(network, parts.test, DetectionRule(fitted, parts.mean_s), self.config.device)
                if parts.test
                else None
            )
            result = {
                "steps": values["step"], "metrics": metrics, "test": test, "thresholds": list(fitted),
                "mean_duration_s": list(parts.mean_s),
            }  # fmt: skip
            write_json(self.out / checkpoint.RUN, {**self.described, "history": history, "result": result})
        self.world.wait()
        found = read_json(self.out / checkpoint.RUN, "run")["result"]
        self.seconds["validate"] += time.monotonic() - begun
        return TrainResult(
            best, last, found["steps"], found["metrics"], found["test"], tuple(found["thresholds"]),
            tuple(found["mean_duration_s"]), dict(self.seconds),
        )  # fmt: skip

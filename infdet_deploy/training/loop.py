"""The training loop: steps, validations, checkpoints, and the final evaluation."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from infdet_deploy.config import read_json
from infdet_deploy.console import clock
from infdet_deploy.datasets import open_dataset
from infdet_deploy.detections import DetectionRule, default_thresholds
from infdet_deploy.errors import Interrupted, TrainingError
from infdet_deploy.files import write_json
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network, save_network
from infdet_deploy.training import checkpoint, run_folder
from infdet_deploy.training.dataset import Parts, load_parts
from infdet_deploy.training.distributed import World, process_group
from infdet_deploy.training.interrupts import deferred_interrupts
from infdet_deploy.training.layers import prepare_for_training
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.schedule import is_over, learning_rate, reduce_on_plateau
from infdet_deploy.training.step import first_state, take_step
from infdet_deploy.training.tensorboard import TensorBoard
from infdet_deploy.training.validation import (
    base_rate_loss,
    evaluate_network,
    fitted_thresholds,
    headline,
    measure_norms,
    rank,
)
from infdet_deploy.training.windows import Windows

_LEARNT = 0.97  # of the loss without looking at the frames; a network below has learnt something
_LEARNT_VALUE = 0.05  # a network with a higher mAP or accuracy has learnt something, too
_MEASURED_STEPS = 3  # after which a training says how long it will take


@dataclass(frozen=True)
class Progress:
    """Progress of a training run. step, steps: done and total; clips in the phases `synthesize` and `prepare`.

    loss, classification, flow, learning_rate, gradient_norm: of this step. validation: metrics, after a validation.
    note: a message for the user. row: number and name of an ablation's row.
    """

    phase: Literal["synthesize", "prepare", "measure", "train"]
    step: int = 0
    steps: int = 0
    loss: float | None = None
    classification: float | None = None
    flow: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    validation: dict[str, Any] | None = None
    seconds_left: float | None = None
    note: str = ""
    row: str = ""


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainResult:
    """The result of `train`.

    run: its folder. best, last: checkpoints there. steps: steps done, fewer than configured after an early stop.
    metrics: of `best` on the validation clips, with the default thresholds. test: of `best` on the test clips, with the
    fitted thresholds; None if the data set has none. mean_duration_s: of each class's instances. seconds: of each phase
    in this call.
    """

    run: Path
    best: Path
    last: Path
    steps: int
    metrics: dict[str, Any]
    test: dict[str, Any] | None
    thresholds: tuple[float, ...]
    mean_duration_s: tuple[float, ...]
    seconds: dict[str, float]

    @property
    def figure(self) -> str:
        """The metric to show: `mAP@0.5` or `accuracy`. The mean of mAP over all IoUs selects the best checkpoint."""
        return headline(self.metrics)[0]

    @property
    def validation_value(self) -> float:
        return headline(self.metrics)[1]

    @property
    def test_value(self) -> float | None:
        return None if self.test is None else headline(self.test)[1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `figure` names the metric of `validation` and `test`."""
        return {
            "run": str(self.run), "checkpoint": str(self.best), "steps": self.steps, "figure": self.figure,
            "validation": self.validation_value, "test": self.test_value, "thresholds": list(self.thresholds),
            "mean_duration_s": list(self.mean_duration_s), "seconds": self.seconds,
        }  # fmt: skip


def run_training(
    data: Path,
    out: Path,
    model: ModelConfig,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    initial: InfDetNet | None = None,
    tensorboard: bool = False,
) -> TrainResult:
    """Train on the data set folder `data` into the run folder `out` (see `run_folder`).

    resume: continue from the state in `out`, which must have the same configurations; the result equals that of an
    uninterrupted run. initial: the network to start from, which is not changed; by default a seeded random one.
    Started by torchrun, each process calls this with the same arguments (see `distributed`).

    Raises TrainingError if `out` contains a run already, for a run that does not fit, and for a loss that is not finite
    (naming the clip); Interrupted after Ctrl-C or SIGTERM, with the state saved; errors of `load_parts`; InfdetError if
    TensorBoard is not installed.
    """
    config = config or TrainConfig()
    if initial is not None and initial.config != model:
        raise TrainingError("the initial network's configuration differs from the training configuration")
    described = {"format": 1, "model": model.to_json(), "training": config.to_json(), "data": str(data.resolve())}
    with process_group(config.device) as world, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        world.check_batch(config.batch)
        if resume:
            run_folder.check_run(out, described)
        elif (out / run_folder.RUN).exists():
            raise TrainingError(f"{out} contains a training run already; resume it or choose another folder")
        world.wait()
        torch.manual_seed(config.seed)
        report = on_progress if on_progress is not None and world.is_main else lambda progress: None
        with TensorBoard(out, tensorboard and world.is_main) as board:
            started = time.monotonic()
            with world.main_first():
                parts = load_parts(
                    open_dataset(data), model, config, lambda done, total: report(Progress("prepare", done, total))
                )
            run = _Run(out, model, config, described, report, world, board, parts)
            run.seconds["prepare"] = time.monotonic() - started
            return run.train(initial, resume)


@dataclass
class _Run:
    """The state that the phases of one `run_training` share."""

    out: Path
    model: ModelConfig
    config: TrainConfig
    described: dict[str, Any]
    report: OnProgress
    world: World
    board: TensorBoard
    parts: Parts
    seconds: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "train": 0.0, "validate": 0.0})

    def __post_init__(self) -> None:
        self.windows = Windows(self.parts.training, self.model, self.config, self.world)

    def train(self, initial: InfDetNet | None, resume: bool) -> TrainResult:
        config = self.config
        state = first_state(self.model, config, initial, self.world)
        values = state.values
        if self.world.is_main:
            run_folder.clear_leftovers(self.out)
        if resume:
            checkpoint.load_state(self.out, state)
            note = f"{self.out}: resuming after step {values['step']} of {config.steps}"
            self.report(Progress("train", values["step"], config.steps, note=note))
        elif self.world.is_main:
            checkpoint.save_state(self.out, state)  # before run.json, which marks the run as resumable
            write_json(self.out / run_folder.RUN, {**self.described, "history": []})
        self.board.start(values["step"])
        with deferred_interrupts() as interrupted:
            self._steps(state, interrupted)
        return self._finish(state)

    def _steps(self, state: checkpoint.TrainingState, interrupted: Callable[[], bool]) -> None:
        config, values = self.config, state.values
        loop_started, first = time.monotonic(), values["step"]
        while not is_over(config, values):
            step_started = time.monotonic()
            rate = learning_rate(config, values["step"], len(self.parts.training), values["scale"])
            losses, norm = take_step(state, self.windows, config, values["step"], rate, self.world)
            values["step"] = step = values["step"] + 1
            self.seconds["train"] += time.monotonic() - step_started
            self.board.step(step, losses, rate, norm)
            validation = None
            if step % config.validate_every == 0 or step == config.steps:
                validation = self._validate(state)
            stop = torch.tensor([float(interrupted())], device=config.device)
            self.world.sum([stop])  # one process's signal stops all, at the same step
            if self.world.is_main and (validation or stop or step % config.save_every == 0):
                checkpoint.save_state(self.out, state)
            left_s = (time.monotonic() - loop_started) / (step - first) * (config.steps - step)
            note = "" if validation is None else self._learnt_nothing(validation, step)
            if step == first + _MEASURED_STEPS and not note:
                note = f"{config.steps - first} steps take about {clock(left_s)}; fewer or more with --steps N"
            self.report(Progress("train", step, config.steps, *losses, rate, norm, validation, left_s, note))
            if stop and not is_over(config, values):
                raise Interrupted(
                    f"interrupted at step {step} of {config.steps}; resume with: infdet-deploy train --out {self.out} "
                    "--resume"
                )

    def _validate(self, state: checkpoint.TrainingState) -> dict[str, Any]:
        """Evaluate the averaged network on the validation clips; save it as `last`, and as `best` if it is the best."""
        started = time.monotonic()
        averaged, values = state.averaged, state.values
        if self.world.is_main:
            if not self.config.freeze_towers and not self.config.chunk_snippets:
                measure_norms(averaged, self.windows, self.config)
            rule = self._rule(default_thresholds(self.model.classes, self.config.ends))
            metrics = evaluate_network(averaged, self.parts.validation, rule, self.config.device)
            values["history"].append({"step": values["step"], **metrics})
            self._save(run_folder.LAST, averaged, rule.thresholds)
            values["worse"] += 1
            if values["best"] is None or rank(metrics) > values["best"]:
                values["best"], values["worse"] = rank(metrics), 0
                self._save(run_folder.BEST, averaged, rule.thresholds)
            reduce_on_plateau(values, metrics["loss"], self.windows.steps_per_epoch)
            write_json(self.out / run_folder.RUN, {**self.described, "history": values["history"]})
            self.board.validation(values["step"], metrics)
        values.update(self.world.broadcast(values))
        self.seconds["validate"] += time.monotonic() - started
        latest: dict[str, Any] = values["history"][-1]
        return latest

    @cached_property
    def _base_rate_loss(self) -> float:
        return base_rate_loss(self.parts.validation)

    def _learnt_nothing(self, metrics: dict[str, Any], step: int) -> str:
        """A warning while the scores are no better than each class's share of time; empty when they are."""
        loss, base = metrics["classification"], self._base_rate_loss
        if loss < _LEARNT * base or headline(metrics)[1] > _LEARNT_VALUE:
            return ""
        return (
            f"learnt nothing yet: after step {step} the classification loss on the validation clips is {loss:.3f}, and "
            f"scores that ignore the frames have {base:.3f}; if this stays, give more --steps, another "
            "--set learning_rate=…, or for thermal arrays --preset array"
        )

    def _rule(self, thresholds: tuple[float, ...]) -> DetectionRule:
        return DetectionRule(thresholds, self.parts.mean_s, ends=self.config.ends)

    def _save(self, name: str, network: InfDetNet, thresholds: tuple[float, ...]) -> None:
        extra = {
            "thresholds": thresholds, "mean_duration_s": self.parts.mean_s, "frame_mode": self.model.preparation().mode,
            "fps": self.parts.fps, "ends": self.config.ends,
        }  # fmt: skip
        save_network(self.out / name, network, self.model, extra)

    def _finish(self, state: checkpoint.TrainingState) -> TrainResult:
        """Fit the thresholds on all clips but the test clips, store them in both checkpoints, and test the best."""
        started, parts, values = time.monotonic(), self.parts, state.values
        best, last, run = (self.out / name for name in (run_folder.BEST, run_folder.LAST, run_folder.RUN))
        # A finished run keeps its result, and thresholds that were fitted later.
        if self.world.is_main and "result" not in read_json(run, "run"):
            network, history = prepare_for_training(load_network(best)[0], self.config), values["history"]
            rule = self._rule(default_thresholds(self.model.classes, self.config.ends))
            fitted = fitted_thresholds(network, [*parts.training, *parts.validation], rule, self.config)
            self._save(run_folder.BEST, network, fitted)
            self._save(run_folder.LAST, state.averaged, fitted)
            metrics = next(entry for entry in history if rank(entry) == values["best"])
            rule = self._rule(fitted)
            test = evaluate_network(network, parts.test, rule, self.config.device) if parts.test else None
            result = {
                "steps": values["step"], "metrics": metrics, "test": test, "thresholds": list(fitted),
                "mean_duration_s": list(parts.mean_s),
            }  # fmt: skip
            write_json(run, {**self.described, "history": history, "result": result})
        self.world.wait()
        found = read_json(run, "run")["result"]
        self.seconds["validate"] += time.monotonic() - started
        return TrainResult(
            self.out, best, last, found["steps"], found["metrics"], found["test"], tuple(found["thresholds"]),
            tuple(found["mean_duration_s"]), dict(self.seconds),
        )  # fmt: skip

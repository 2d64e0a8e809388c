"""Training: windows of the clips through the network, whole clips to judge it by."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.errors import TrainingError
from infdet_deploy.evaluation.thresholds import fit_thresholds
from infdet_deploy.files import write_json
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network
from infdet_deploy.runtime.detections import DetectionRule, default_thresholds
from infdet_deploy.training import checkpoint
from infdet_deploy.training.arrangement import arrange, precision
from infdet_deploy.training.chunked import accumulate_gradients
from infdet_deploy.training.dataset import PreparedClip, hold_out, load_dataset, mean_durations_s
from infdet_deploy.training.evaluation import clip_scores, evaluate_network, forward, scored_clips
from infdet_deploy.training.losses import Losses, losses
from infdet_deploy.training.prepare import FRAME_MODE
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.windows import Windows

_PATIENCE_EPOCHS = 10  # of the paper's schedule


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
    validation: dict[str, Any] | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """best, last: the networks' files. metrics: of the best on the validation clips, with the default thresholds.

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
) -> TrainResult:
    """Train on the data set folder `data`, into the run folder `out` (see `checkpoint`).

    resume: go on from the state in `out`, which must be of the same configurations; the result is the same as without
    the interruption. initial: the network to start from, a seeded random one by default; it is left unchanged.

    Raises TrainingError for a data set or run that does not fit, an `out` that already holds a run, and a loss that is
    not finite (naming the clip); errors of `load_dataset`.
    """
    data, out, config = Path(data), Path(out), config or TrainConfig()
    if initial is not None and initial.config != model:
        raise TrainingError("the initial network has another configuration than the one to train")
    described = {"format": 1, "model": model.to_json(), "training": config.to_json(), "data": str(data.resolve())}
    if resume:
        checkpoint.check_run(out, described)
    elif (out / checkpoint.RUN).exists():
        raise TrainingError(f"{out}: holds a training run already; resume it or choose another folder")
    run = _Run(data, out, model, config, described, on_progress or (lambda progress: None))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)
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
    ) -> None:
        self.out, self.model, self.config, self.described, self.report = out, model, config, described, report
        self.seconds = {"prepare": 0.0, "train": 0.0, "validate": 0.0}
        begun = time.monotonic()
        dataset = open_dataset(data)
        self.clips = self._load(dataset, config.train_subset)
        mean_durations_s(self.clips, model.classes)  # every class can be learned
        if _judged(dataset, config.validation_subset):
            self.validation = self._load(dataset, config.validation_subset)
        else:
            self.clips, self.validation = hold_out(self.clips, config.validation_share)
        self.mean_s = mean_durations_s([*self.clips, *self.validation], model.classes)
        self.test = self._load(dataset, config.test_subset) if _judged(dataset, config.test_subset) else []
        self.windows = Windows(self.clips, model, config)
        self.seconds["prepare"] = time.monotonic() - begun

    def _load(self, data: DataSet, subset: str) -> list[PreparedClip]:
        return load_dataset(data, subset, self.model, lambda done, total: self.report(Progress("prepare", done, total)))

    def train(self, initial: InfDetNet | None, resume: bool) -> TrainResult:
        config = self.config
        network = InfDetNet(self.model) if initial is None else copy.deepcopy(initial)
        network = arrange(network, config)
        averaged = copy.deepcopy(network).requires_grad_(False)
        weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(weights, config.learning_rate, weight_decay=config.weight_decay, fused=True)
        values: dict[str, Any] = {"step": 0, "history": [], "best": None, "scale": 1.0, "least": None}
        state = checkpoint.TrainingState(network, averaged, optimizer, values)
        if resume:
            checkpoint.load_state(self.out, state)
        else:
            checkpoint.save_state(self.out, state)  # first: with run.json there, the run can be resumed
            write_json(self.out / checkpoint.RUN, {**self.described, "history": []})
        began, first = time.monotonic(), values["step"]
        while values["step"] < config.steps:
            step = values["step"]
            begun = time.monotonic()
            rate = self._rate(step, values)
            for group in optimizer.param_groups:
                group["lr"] = rate
            found = self._step(state, step)
            values["step"] = step = step + 1
            self.seconds["train"] += time.monotonic() - begun
            validation = None
            if step % config.validate_every == 0 or step == config.steps:
                validation = self._validate(state)
            if validation or step % config.save_every == 0:
                checkpoint.save_state(self.out, state)
            left_s = (time.monotonic() - began) / (step - first) * (config.steps - step)
            self.report(Progress("train", step, config.steps, *found, rate, validation, left_s))
        return self._finish(state)

    def _rate(self, step: int, values: dict[str, Any]) -> float:
        config = self.config
        warm = min(1.0, (step + 1) / max(1.0, config.warmup * config.steps))
        if config.schedule == "paper":
            return warm * values["scale"] * 6 * 0.01 * config.batch / len(self.clips)
        return warm * config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2

    def _step(self, state: checkpoint.TrainingState, step: int) -> tuple[float, float, float]:
        """One optimiser step; the batch's mean losses."""
        config, network = self.config, state.network
        assert isinstance(network, InfDetNet)
        network.train()
        if config.freeze_towers:
            network.infrared_tower.eval()
            network.flow_tower.eval()
        state.optimizer.zero_grad(set_to_none=True)
        found = self._whole_clips(network, step) if config.chunk_snippets else self._windows(network, step)
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        state.optimizer.step()
        decay = min(config.average, (step + 1) / (step + 10))  # short while there is little to average
        with torch.no_grad():
            means: list[Tensor] = list(state.averaged.parameters())
            weights: list[Tensor] = list(network.parameters())
            torch._foreach_lerp_(means, weights, 1 - decay if config.average else 1.0)
            if not config.norm_windows:  # else they are measured before validation
                for mean, value in zip(state.averaged.buffers(), network.buffers(), strict=True):
                    mean.copy_(value)
        total, classification, moved = (float(part.detach().mean()) for part in found)
        return total, classification, moved

    def _windows(self, network: InfDetNet, step: int) -> Losses:
        """The gradients of a batch of windows."""
        batch = self.windows.batch(step)
        logits, flow = forward(network, batch.grey, batch.length, precision(self.config))
        found = losses(logits, batch.labels, flow, batch.target, batch.length, batch.pairs)
        _check_finite(found, batch.names, step)
        found.total.mean().backward()
        return found

    def _whole_clips(self, network: InfDetNet, step: int) -> Losses:
        """The gradients of a batch of whole clips, one after the other."""
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eval()
        parts = []
        for name, clip in self.windows.whole(step):
            share = 1 / self.config.batch
            part = accumulate_gradients(network, clip, self.config.chunk_snippets, precision(self.config), share)
            _check_finite(part, [name], step)
            parts.append(part)
        return Losses(*(torch.cat(found) for found in zip(*parts, strict=True)))

    def _validate(self, state: checkpoint.TrainingState) -> dict[str, Any]:
        """Judge the averaged network on the validation clips, keep it as last and perhaps as best."""
        begun = time.monotonic()
        averaged, values = state.averaged, state.values
        assert isinstance(averaged, InfDetNet)
        if not self.config.freeze_towers and not self.config.chunk_snippets:
            self._measure_norms(averaged)
        rule = DetectionRule(default_thresholds(self.model.classes), self.mean_s)
        metrics = evaluate_network(averaged, self.validation, rule, self.config.device)
        entry = {"step": values["step"], **metrics}
        values["history"].append(entry)
        rank = [metrics["map"]["0.5"], -metrics["loss"]]
        kept = (rule.thresholds, self.mean_s, FRAME_MODE)
        checkpoint.save_trained(self.out / checkpoint.LAST, averaged, self.model, *kept)
        if values["best"] is None or rank > values["best"]:
            values["best"] = rank
            checkpoint.save_trained(self.out / checkpoint.BEST, averaged, self.model, *kept)
        self._plateau(metrics["loss"], values)
        write_json(self.out / checkpoint.RUN, {**self.described, "history": values["history"]})
        self.seconds["validate"] += time.monotonic() - begun
        return entry

    def _plateau(self, loss: float, values: dict[str, Any]) -> None:
        """Divide the paper's learning rate by 10 after 10 epochs without a lower validation loss."""
        if values["least"] is None or loss < values["least"][0]:
            values["least"] = [loss, values["step"]]
        elif values["step"] - values["least"][1] >= _PATIENCE_EPOCHS * self.windows.steps_per_epoch:
            values["scale"] /= 10
            values["least"][1] = values["step"]

    def _measure_norms(self, network: InfDetNet) -> None:
        """Take the batch norms' statistics anew, as the mean over plain training windows."""
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
        momentum = [norm.momentum for norm in norms]
        network.eval()
        if self.config.norm_windows:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
        with torch.inference_mode():
            for index in range(self.config.norm_windows):
                batch = self.windows.plain(index)
                forward(network, batch.grey, batch.length, precision(self.config))
        for norm, value in zip(norms, momentum, strict=True):
            norm.momentum = value
        network.eval()

    def _finish(self, state: checkpoint.TrainingState) -> TrainResult:
        """Fit the thresholds on all clips but the test's, write them into both networks' files, judge the best."""
        begun = time.monotonic()
        best, last = self.out / checkpoint.BEST, self.out / checkpoint.LAST
        network, history = arrange(load_network(best)[0], self.config), state.values["history"]
        known = [*self.clips, *self.validation]
        scores = clip_scores(network, known, self.config.device, precision(self.config))
        thresholds = fit_thresholds(scored_clips(scores, known), self.model.classes, self.mean_s)
        for path, trained in ((best, network), (last, state.averaged)):
            checkpoint.save_trained(path, trained, self.model, thresholds, self.mean_s, FRAME_MODE)
        metrics = next(e for e in history if [e["map"]["0.5"], -e["loss"]] == state.values["best"])
        rule = DetectionRule(thresholds, self.mean_s)
        test = evaluate_network(network, self.test, rule, self.config.device) if self.test else None
        result = {
            "metrics": metrics, "test": test, "thresholds": list(thresholds), "mean_duration_s": list(self.mean_s),
        }  # fmt: skip
        write_json(self.out / checkpoint.RUN, {**self.described, "history": history, "result": result})
        self.seconds["validate"] += time.monotonic() - begun
        steps = state.values["step"]
        return TrainResult(best, last, steps, metrics, test, thresholds, self.mean_s, dict(self.seconds))


def _judged(data: DataSet, subset: str) -> bool:
    """Whether there is anything in a subset that a network can be judged by."""
    return any(clip.instances for clip in data.subset(subset))


def _check_finite(found: Losses, names: Sequence[str], step: int) -> None:
    """TrainingError naming the clip where a loss is not finite."""
    if not torch.isfinite(found.total).all():
        bad = int((~torch.isfinite(found.total)).nonzero()[0])
        raise TrainingError(f"loss is not finite at step {step + 1}, clip '{names[bad]}'; lower the learning rate")

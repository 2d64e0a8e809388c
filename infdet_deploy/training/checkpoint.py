"""A training run's folder: each file whole or absent, nothing in it executable.

1. `best.safetensors`, `last.safetensors`: networks for use (see `model.weights`), with thresholds, mean durations and
   frame mode in their header.
2. `state.safetensors`: all that is needed to go on exactly where the run stood; JSON values in its header.
3. `run.json`: model and training configuration, data set, history of metrics.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from infdet_deploy.config import read_json
from infdet_deploy.detections import DetectionRule, default_rule
from infdet_deploy.errors import InfdetError, TrainingError, first_line
from infdet_deploy.files import whole_file
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import save_network

RUNS = Path("runs")  # where run folders are made unless another place is named
BEST, LAST, STATE, RUN = "best.safetensors", "last.safetensors", "state.safetensors", "run.json"


@dataclass
class TrainingState:
    """network: being trained; averaged: its moving average; values: JSON (step, history, best so far, schedule);
    scaler: of the loss, where it is float16."""

    network: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    values: dict[str, Any]
    scaler: torch.amp.GradScaler


def save_state(folder: Path, state: TrainingState) -> None:
    """Write everything that decides how training goes on, torch's random states included."""
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    for index in range(torch.cuda.device_count()):
        tensors[f"random.cuda.{index}"] = torch.cuda.get_rng_state(index)
    for part, module in (("network", state.network), ("averaged", state.averaged)):
        tensors |= {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, parameter in enumerate(_parameters(state.optimizer)):
        for name, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with whole_file(folder / STATE) as temporary:
        header = {"training": json.dumps(state.values), "scaler": json.dumps(state.scaler.state_dict())}
        temporary.write_bytes(save(tensors, header))  # save_file leaves files of its own behind when it is killed


def load_state(folder: Path, state: TrainingState) -> None:
    """Put back what `save_state` wrote. Raises TrainingError where it is missing, damaged or of another network."""
    path = folder / STATE
    if not path.is_file():
        raise TrainingError(f"{path}: no such training state, nothing to resume; start without resume")
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            values, scaler = json.loads(header["training"]), json.loads(header["scaler"])
        for part, module in (("network", state.network), ("averaged", state.averaged)):
            module.load_state_dict(_below(tensors, part))
        for index, parameter in enumerate(_parameters(state.optimizer)):
            found = _below(tensors, f"optimizer.{index}")
            for name, tensor in found.items():
                found[name] = tensor.to(parameter.device)
                if tensor.shape == parameter.shape:  # in the parameter's memory order
                    found[name] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
            if found:
                state.optimizer.state[parameter] = found
        torch.set_rng_state(tensors["random"])
        for index in range(torch.cuda.device_count()):
            if f"random.cuda.{index}" in tensors:
                torch.cuda.set_rng_state(tensors[f"random.cuda.{index}"], index)
        state.scaler.load_state_dict(scaler)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{path}: not the state of this training run: {first_line(error)}") from None
    state.values.clear()
    state.values.update(values)


def clear_leftovers(out: Path) -> None:
    """Remove what a killed run had begun to write under temporary names."""
    for name in map(Path, (BEST, LAST, STATE, RUN)):
        for path in out.glob(f".{name.stem}.*{name.suffix}"):
            path.unlink(missing_ok=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _below(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def save_trained(
    path: Path,
    network: nn.Module,
    model: ModelConfig,
    thresholds: Sequence[float],
    mean_duration_s: Sequence[float],
    frame_mode: str,
    fps: float,
) -> None:
    """Write a network with what turning its scores into detections needs; fps: the training clips' usual rate."""
    extra = {
        "thresholds": list(thresholds), "mean_duration_s": list(mean_duration_s), "frame_mode": frame_mode, "fps": fps
    }  # fmt: skip
    save_network(path, network, model, extra)


def saved_rule(extra: dict[str, Any], classes: Sequence[str]) -> DetectionRule:
    """The rule in a checkpoint's extra JSON (see `load_network`), `default_rule` for what is not there."""
    rule = default_rule(classes)
    thresholds, means_s = extra.get("thresholds", rule.thresholds), extra.get("mean_duration_s", rule.mean_duration_s)
    return DetectionRule(tuple(thresholds), tuple(means_s))


def store_thresholds(path: Path, thresholds: Sequence[float]) -> None:
    """Put other thresholds into a checkpoint of ours; its tensors and the rest of its header stay as they are."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    metadata["infdet"] = json.dumps({**json.loads(metadata["infdet"]), "thresholds": list(thresholds)})
    content = save(load_file(path), metadata)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def checkpoint_file(run: Path) -> Path:
    """The checkpoint that is meant: `run` itself, or a run folder's best. Raises InfdetError where it holds none."""
    if run.is_dir() and not (run / BEST).is_file():
        raise InfdetError(f"{run} holds no {BEST}: is it a run folder, and has it been trained?")
    return run / BEST if run.is_dir() else run


def newest_run(root: Path | str = RUNS) -> Path:
    """The run folder below `root` whose `run.json` was written last. Raises TrainingError where there is none."""
    runs = sorted(Path(root).glob(f"*/{RUN}"), key=lambda path: path.stat().st_mtime_ns)
    if not runs:
        raise TrainingError(f"{root}: no training run there; train first, or name the run's folder")
    return runs[-1].parent


def check_run(out: Path, described: dict[str, Any]) -> None:
    """TrainingError unless `out` holds a run of the same configurations and data."""
    if not (out / RUN).is_file():
        raise TrainingError(f"{out}: no training run to resume there; start one without resume")
    run = read_json(out / RUN, "run")
    for part in ("model", "training"):
        there = run.get(part) if isinstance(run, dict) else None
        if there != described[part]:
            before = there if isinstance(there, dict) else {}
            changes = [
                f"{key} {before.get(key)!r} there, {value!r} here"
                for key, value in described[part].items()
                if before.get(key) != value
            ]
            raise TrainingError(
                f"{out}: the run has another {part} configuration ({'; '.join(changes) or 'damaged'}); give it the "
                "options that it was begun with, or start another run"
            )
    if run.get("data") != described["data"]:
        raise TrainingError(
            f"{out}: the run was begun on {run.get('data')}, not on {described['data']}; name that data"
        )

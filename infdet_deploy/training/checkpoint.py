"""A training's state, and rule and thresholds in its checkpoints: files of tensors and JSON only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from infdet_deploy.detections import DetectionRule, default_rule
from infdet_deploy.errors import TrainingError, first_line
from infdet_deploy.files import whole_file
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.weights import load_network
from infdet_deploy.training.run_folder import STATE, checkpoint_file


def starting_network(weights: Path | None) -> InfDetNet | None:
    """The network of a run, checkpoint or bundle from which a training starts; None without one."""
    return None if weights is None else load_network(checkpoint_file(weights))[0]


@dataclass
class TrainingState:
    """network: being trained. averaged: its moving average. values: JSON-ready (step, history, best so far, schedule).
    scaler: of the loss, used for float16."""

    network: InfDetNet
    averaged: InfDetNet
    optimizer: torch.optim.Optimizer
    values: dict[str, Any]
    scaler: torch.amp.GradScaler


def save_state(folder: Path, state: TrainingState) -> None:
    """Write all that resuming needs, torch's random states included."""
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
        temporary.write_bytes(save(tensors, header))  # save_file leaves temporary files behind when it is killed


def load_state(folder: Path, state: TrainingState) -> None:
    """Restore what `save_state` wrote. Raises TrainingError if it is missing, damaged or of another network."""
    path = folder / STATE
    if not path.is_file():
        raise TrainingError(f"{path}: no such training state, nothing to resume; start without --resume")
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


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _below(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def saved_rule(extra: dict[str, Any], classes: Sequence[str]) -> DetectionRule:
    """The rule in a checkpoint's extra JSON (see `load_network`); missing parts are `default_rule`'s."""
    rule = default_rule(classes)
    thresholds, means_s = extra.get("thresholds", rule.thresholds), extra.get("mean_duration_s", rule.mean_duration_s)
    return DetectionRule(tuple(thresholds), tuple(means_s), ends=extra.get("ends", rule.ends))


def store_thresholds(path: Path, thresholds: Sequence[float]) -> None:
    """Replace the thresholds in a checkpoint; its tensors and the rest of its header do not change."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    metadata["infdet"] = json.dumps({**json.loads(metadata["infdet"]), "thresholds": list(thresholds)})
    content = save(load_file(path), metadata)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)

"""Our checkpoints: a network with its configuration in one safetensors file."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from infdet_deploy.errors import WeightsError
from infdet_deploy.files import whole_file
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read tensors from `.safetensors` or a PyTorch file, never executing anything stored in it.

    Raises WeightsError for a missing, truncated or unsafe file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no such checkpoint: {path}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # safetensors, zip and pickle raise many kinds of errors for damaged files
        # PyTorch's message suggests unsafe loading, so it is not repeated.
        kind = type(error).__name__
        raise WeightsError(
            f"{path} cannot be loaded as tensors alone ({kind}): truncated, no checkpoint, or more than tensors"
        ) from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} contains no state dict of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def check_shape(name: str, tensor: Tensor, expected: Tensor) -> None:
    """Raise WeightsError naming the entry if the shapes differ."""
    if tensor.shape != expected.shape:
        raise WeightsError(f"checkpoint entry '{name}' is {list(tensor.shape)}, expected {list(expected.shape)}")


def save_network(
    path: Path | str, network: InfDetNet, config: ModelConfig, extra: dict[str, Any] | None = None
) -> None:
    """Write weights and configuration as one safetensors file, atomically.

    extra: further JSON in the header (thresholds, mean durations, source).
    """
    header = {"infdet": json.dumps({"format": 1, "model": config.to_json(), **(extra or {})})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, header))  # save_file reports a full disk as another error


def load_network(path: Path | str) -> tuple[InfDetNet, dict[str, Any]]:
    """Rebuild the network that `save_network` wrote, in eval mode; returns it with the extra JSON.

    Raises WeightsError if the file is missing, damaged, foreign, or does not fit its own configuration.
    """
    path = Path(path)
    # The first checkpoints call the fusion `sca`.
    state = {re.sub(r"^sca\.", "fusion.", name): tensor for name, tensor in read_state_dict(path).items()}
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is not a .safetensors file; convert foreign weights with import-weights")
    with safe_open(path, "pt") as file:
        header = (file.metadata() or {}).get("infdet")
    if header is None:
        raise WeightsError(f"{path} contains no configuration; convert foreign weights with import-weights")
    try:
        extra = json.loads(header)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise WeightsError(f"{path} is damaged: its configuration is not a JSON object")
    if extra.pop("format", None) != 1:
        raise WeightsError(f"{path} was written by a newer version; update infdet-deploy")
    config = ModelConfig.from_json(extra.pop("model", None), f"{path}: model")
    network = InfDetNet(config)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise WeightsError(f"{path}: entry '{name}' is missing")
        check_shape(f"{path}: {name}", state[name], tensor)
    if surplus := sorted(set(state) - set(wanted)):
        raise WeightsError(f"{path}: entry '{surplus[0]}' is not part of the network")
    network.load_state_dict(state)
    return network.eval(), extra


# Entries of a classifier in which an axis has one element a class; of `hidden`'s inputs, the last are the classes'.
_CLASS_AXIS = {
    "output.weight": 0, "output.bias": 0, "super_event.matrix": 0, "super_event.class_weight": 0, "hidden.weight": 1,
}  # fmt: skip


def with_config(network: InfDetNet, config: ModelConfig, seed: int = 0) -> tuple[InfDetNet, list[str]]:
    """A copy of the network with another configuration, and the names of the entries that do not fit it entirely.

    Classes of the same name keep what the network has learnt of them; other classes and other entries that do not fit
    get seeded random values.
    """
    other = random_network(config, seed)
    state, wanted = network.state_dict(), other.state_dict()
    old, new = network.config.classes, config.classes
    random = []
    for name, values in wanted.items():
        axis = _CLASS_AXIS.get(".".join(name.split(".")[-2:])) if name.startswith("classifier.") else None
        if axis is not None and old != new and name in state:
            whole = _copy_classes(values, state[name], axis, old, new)
        elif whole := name in state and values.shape == state[name].shape:
            wanted[name] = state[name]
        if not whole:
            random.append(name)
    other.load_state_dict(wanted)
    return other, random


def _copy_classes(into: Tensor, source: Tensor, axis: int, old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """Copy what two networks' entries have in common, by class names; whether that is all of `into`, in place."""
    into, source = into.movedim(axis, 0), source.movedim(axis, 0)
    before = len(into) - len(new)  # elements that belong to no class
    if into.shape[1:] != source.shape[1:] or before != len(source) - len(old):
        return False
    into[:before] = source[:before]
    for index, label in enumerate(new):
        if label in old:
            into[before + index] = source[before + old.index(label)]
        elif before:
            into[before + index] = 0  # a new class's evidence does not disturb the known classes at first
    return set(new) <= set(old)


def random_network(config: ModelConfig, seed: int = 0) -> InfDetNet:
    """A network with seeded random weights, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return InfDetNet(config).eval()

"""One optimiser step, and the state that it changes."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infdet_deploy.errors import TrainingError
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.training.checkpoint import TrainingState
from infdet_deploy.training.distributed import World, make_distributed, seed_dropout
from infdet_deploy.training.initialization import fresh_network
from infdet_deploy.training.layers import prepare_for_training
from infdet_deploy.training.losses import Losses, losses
from infdet_deploy.training.mixed_precision import forward, precision
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.schedule import parameter_groups
from infdet_deploy.training.whole_clips import accumulate_gradients
from infdet_deploy.training.windows import Windows


def first_state(model: ModelConfig, config: TrainConfig, initial: InfDetNet | None, world: World) -> TrainingState:
    """The state before the first step. `initial` is copied, not changed."""
    network = fresh_network(model, config.seed) if initial is None else copy.deepcopy(initial)
    network = prepare_for_training(network, config)
    averaged = copy.deepcopy(network).requires_grad_(False)
    make_distributed(network, world)
    groups = parameter_groups(network, config)
    optimizer = torch.optim.Adam(groups, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    values: dict[str, Any] = {"step": 0, "history": [], "best": None, "scale": 1.0, "least": None, "worse": 0}
    scaler = torch.amp.GradScaler("cuda", enabled=config.precision == "float16")
    return TrainingState(network, averaged, optimizer, values, scaler)


def take_step(
    state: TrainingState, windows: Windows, config: TrainConfig, step: int, rate: float, world: World
) -> tuple[tuple[float, float, float], float]:
    """Train on the samples of step number `step` with learning rate `rate`.

    Returns the mean losses of the whole batch (total, classification, flow) and the norm of the gradients. Raises
    TrainingError naming the clip if a loss is not finite.
    """
    network = state.network
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["times"]
    network.train()
    if config.freeze_towers:
        for tower in network.towers():
            tower.eval()
    state.optimizer.zero_grad(set_to_none=True)
    found = (_whole_clips if config.chunk_snippets else _windows)(state, windows, config, step, world)
    world.sum([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    state.scaler.unscale_(state.optimizer)
    norm = float(nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm or float("inf")))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    _update_average(state, config, step)
    sums = torch.stack([part.detach().sum() for part in found])
    world.sum([sums])
    total, classification, flow = (float(part) / config.batch for part in sums)
    return (total, classification, flow), norm


def _update_average(state: TrainingState, config: TrainConfig, step: int) -> None:
    decay = min(config.average, (step + 1) / (step + 10))  # short at first
    with torch.no_grad():
        means: list[Tensor] = list(state.averaged.parameters())
        weights: list[Tensor] = list(state.network.parameters())
        torch._foreach_lerp_(means, weights, 1 - decay if config.average else 1.0)
        if not config.norm_windows:  # otherwise they are measured before validation
            for mean, value in zip(state.averaged.buffers(), state.network.buffers(), strict=True):
                mean.copy_(value)


def _windows(state: TrainingState, windows: Windows, config: TrainConfig, step: int, world: World) -> Losses:
    """Compute the gradients of a batch of windows."""
    batch = windows.batch(step)
    seed_dropout(state.network, batch.seeds)
    dtype, teach = precision(config), _teaches(config, step)
    logits, flow = forward(state.network, batch.grey, batch.target, batch.length, dtype, teach)
    found = losses(logits, batch.labels, flow, batch.target, batch.length, batch.pairs)
    _check_finite(found, batch.names, step, world)
    state.scaler.scale(found.total.sum() / config.batch).backward()
    return found


def _whole_clips(state: TrainingState, windows: Windows, config: TrainConfig, step: int, world: World) -> Losses:
    """Compute the gradients of a batch of whole clips, one after the other."""
    for module in state.network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    share = state.scaler.scale(torch.ones((), device=config.device)).item() / config.batch
    parts = []
    for name, seed, clip in windows.whole(step):
        seed_dropout(state.network, (seed,))
        part = accumulate_gradients(
            state.network, clip, config.chunk_snippets, precision(config), share, _teaches(config, step)
        )
        _check_finite(part, [name], step, world)
        parts.append(part)
    return Losses(*(torch.cat(found) for found in zip(*parts, strict=True)))


def _teaches(config: TrainConfig, step: int) -> bool:
    return step < config.teacher * config.steps


def _check_finite(found: Losses, names: Sequence[str], step: int, world: World) -> None:
    """Raise in all processes if one of them has a bad sample; otherwise the others would wait for it."""
    finite = torch.isfinite(found.total)
    bad = (~finite).sum().float()
    world.sum([bad])
    if bad > 0:
        own = None if finite.all() else names[int((~finite).nonzero()[0])]
        name = next(filter(None, world.gather(own)))
        raise TrainingError(f"loss is not finite at step {step + 1}, clip '{name}'; lower the learning rate")

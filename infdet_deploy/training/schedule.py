"""Learning-rate schedules and early stopping."""

import math
from typing import Any

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.training.options import TrainConfig

_PATIENCE_EPOCHS = 10  # of the paper's schedule


def learning_rate(config: TrainConfig, step: int, clips: int, scale: float) -> float:
    """The learning rate of a step. clips: number of training clips. scale: from `reduce_on_plateau`."""
    warm = min(1.0, (step + 1) / max(1.0, config.warmup * config.steps))
    if config.schedule == "paper":
        return warm * scale * 6 * 0.01 * config.batch / clips
    return warm * config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2


def parameter_groups(network: InfDetNet, config: TrainConfig) -> list[dict[str, Any]]:
    """Optimiser groups of trainable parameters: the FEN, and the rest; `times` multiplies the learning rate."""
    fen = [] if network.fen is None else list(network.fen.parameters())
    fen_ids = {id(parameter) for parameter in fen}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in fen_ids]
    groups = ({"params": fen, "times": config.fen_rate}, {"params": others, "times": 1.0})
    return [group for group in groups if group["params"]]


def reduce_on_plateau(values: dict[str, Any], loss: float, steps_per_epoch: float) -> None:
    """Divide `scale` of the paper's schedule by 10 after 10 epochs without a lower validation loss, in place."""
    if values["least"] is None or loss < values["least"][0]:
        values["least"] = [loss, values["step"]]
    elif values["step"] - values["least"][1] >= _PATIENCE_EPOCHS * steps_per_epoch:
        values["scale"] /= 10
        values["least"][1] = values["step"]


def is_over(config: TrainConfig, values: dict[str, Any]) -> bool:
    """Whether all steps are done, or the last `patience` validations did not beat the best."""
    return bool(values["step"] >= config.steps or 0 < config.patience <= values["worse"])

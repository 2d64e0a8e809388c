"""A network judged while it is trained: batch norms' statistics, validation, and what is found out at the end."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import nn

from infdet_deploy.detections import DetectionRule, clip_score, default_thresholds
from infdet_deploy.errors import TrainingError
from infdet_deploy.metrics.recognition import evaluate_recognition
from infdet_deploy.metrics.thresholds import fit_thresholds
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.training.dataset import PreparedClip
from infdet_deploy.training.evaluation import clip_scores, evaluate_network, forward, mean_losses, scored_clips
from infdet_deploy.training.placement import precision
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.windows import Windows


def judge(network: InfDetNet, clips: Sequence[PreparedClip], rule: DetectionRule, device: str) -> dict[str, Any]:
    """Losses and the task's figures on whole clips: as `evaluate_network` gives them, or for recognition
    `{"loss", "classification", "flow", "accuracy", "map", "ap", "confusion"}` (see `evaluate_recognition`)."""
    if network.config.task == "detection":
        return evaluate_network(network, clips, rule, device)
    found = clip_scores(network, clips, device)
    scores = [clip_score(one.scores) for one in found]
    if not np.isfinite(scores).all():
        raise TrainingError("the network gives scores that are not numbers; lower the learning rate")
    labels = [clip.annotation.label for clip in clips]
    return {**mean_losses(found), **evaluate_recognition(scores, labels, network.config.classes).to_dict()}


def headline(metrics: dict[str, Any]) -> tuple[str, float]:
    """The one figure by which the best checkpoint is chosen, with its name."""
    if "accuracy" in metrics:
        return "accuracy", metrics["accuracy"]
    return "mAP@0.5", metrics["map"]["0.5"]


def rank(metrics: dict[str, Any]) -> list[float]:
    """Greater is better: the headline, then the lower loss."""
    return [headline(metrics)[1], -metrics["loss"]]


def measure_norms(network: InfDetNet, windows: Windows, config: TrainConfig) -> None:
    """Take the batch norms' statistics anew, as the mean over batches like those that the network is trained on.

    Single windows will not do: what differs between clips, brightness above all, would be missing from the variances.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    momentum = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms if config.norm_windows else ():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.inference_mode():
        for index in range(ceil(config.norm_windows / config.batch)):
            batch = windows.more(index)
            forward(network, batch.grey, batch.target, batch.length, precision(config))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    network.eval()


def thresholds(
    network: InfDetNet, clips: Sequence[PreparedClip], mean_s: Sequence[float], config: TrainConfig
) -> tuple[float, ...]:
    """Fitted on these clips; recognition has no use for any and gets the published ones."""
    classes = network.config.classes
    if network.config.task == "recognition":
        return default_thresholds(classes)
    scores = clip_scores(network, clips, config.device, precision(config))
    return fit_thresholds(scored_clips(scores, clips), classes, mean_s)

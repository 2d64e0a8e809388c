"""Validate a network in training: scores, losses and the task's metrics on whole clips, batch norms measured before."""

import dataclasses
from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from infdet_deploy.detections import DetectionRule, clip_score, default_thresholds
from infdet_deploy.errors import TrainingError
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.recognition import evaluate_recognition
from infdet_deploy.metrics.thresholds import ScoredClip, detections, fit_thresholds
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.training.dataset import PreparedClip
from infdet_deploy.training.losses import Losses, classification_loss, flow_loss, losses
from infdet_deploy.training.mixed_precision import forward, precision
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.windows import Windows


class ClipScores(NamedTuple):
    """scores float32 [T', C], 0–1, and the clip's losses."""

    scores: NDArray[np.float32]
    losses: Losses


def clip_scores(
    network: InfDetNet, clips: Sequence[PreparedClip], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> list[ClipScores]:
    """Scores and losses of whole clips. The network is switched to eval mode; its convolutions compute in `dtype`.

    Up to 3 frames at a clip's end are dropped, as a bundle does, so the scores equal the bundle's.
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for clip in map(_multiple_of_four, clips):
            grey = to_grey(torch.from_numpy(clip.frames)[None].to(device))
            length = torch.tensor([valid_length(len(clip.frames))], device=device)
            target = torch.from_numpy(clip.flow.astype(np.float32))[None].to(device)
            logits, flow = forward(network, grey, target, length, dtype)
            labels = torch.from_numpy(clip.labels)[None].to(device)
            found.append(ClipScores(logits[0].sigmoid().cpu().numpy(), losses(logits, labels, flow, target, length)))
    return found


def _multiple_of_four(clip: PreparedClip) -> PreparedClip:
    total = len(clip.frames) // 4 * 4
    labels = clip.labels[: feature_length(total)]
    return dataclasses.replace(clip, frames=clip.frames[:total], flow=clip.flow[: total - 1], labels=labels)


def scored_clips(found: Sequence[ClipScores], clips: Sequence[PreparedClip], rule: DetectionRule) -> list[ScoredClip]:
    """Scores together with their clips' annotations, as detection and threshold fitting need them."""
    return [
        ScoredClip(clip.annotation, one.scores, rule.snippets_per_second(len(clip.frames), clip.fps))
        for one, clip in zip(found, clips, strict=True)
    ]


def mean_losses(found: Sequence[ClipScores]) -> dict[str, float]:
    """Means over the clips, `{"loss", "classification", "flow"}`."""
    mean = [float(torch.cat(part).mean()) for part in zip(*(one.losses for one in found), strict=True)]
    return dict(zip(("loss", "classification", "flow"), mean, strict=True))


def base_rate_loss(clips: Sequence[PreparedClip]) -> float:
    """The mean classification loss of the best scores that do not depend on the frames: each class's share of time."""
    share = np.concatenate([clip.labels for clip in clips]).mean(axis=0).clip(1e-6, 1 - 1e-6)
    logits = torch.from_numpy(np.log(share / (1 - share)).astype(np.float32))
    found = []
    for clip in clips:
        labels, length = torch.from_numpy(clip.labels)[None], torch.tensor([valid_length(len(clip.frames))])
        found.append(float(classification_loss(logits.expand_as(labels), labels, length)))
    return float(np.mean(found))


def still_flow_loss(clips: Sequence[PreparedClip]) -> float:
    """The mean flow loss of predicting no motion: a useful FEN has a lower one."""
    found = []
    for clip in map(_multiple_of_four, clips):
        target = torch.from_numpy(clip.flow.astype(np.float32))[None]
        length = torch.tensor([valid_length(len(clip.frames))])
        found.append(float(flow_loss(torch.zeros_like(target), target, length)))
    return float(np.mean(found))


def evaluate_network(
    network: InfDetNet, clips: Sequence[PreparedClip], rule: DetectionRule, device: str = "cpu"
) -> dict[str, Any]:
    """Losses and metrics of a network on whole clips.

    Detection (THUMOS'14): `{"loss", "classification", "flow", "map": {"0.1": …}, "ap": {class: {"0.1": …}}}`.
    Recognition: the same losses with `accuracy`, `map`, `ap` and `confusion` (see `evaluate_recognition`).

    Raises TrainingError for recognition scores that are not finite.
    """
    classes = network.config.classes
    found = clip_scores(network, clips, device)
    if network.config.task == "recognition":
        scores = [clip_score(one.scores) for one in found]
        if not np.isfinite(scores).all():
            raise TrainingError("the network's scores are not finite; lower the learning rate")
        labels = [clip.annotation.label for clip in clips]
        return {**mean_losses(found), **evaluate_recognition(scores, labels, classes).to_dict()}
    scored = detections(scored_clips(found, clips, rule), classes, rule)
    result = mean_average_precision([clip.annotation for clip in clips], scored, "thumos14", classes)
    return {**mean_losses(found), "map": result.map, "ap": result.ap}


def headline(metrics: dict[str, Any]) -> tuple[str, float]:
    """Name and value of the metric to show."""
    if "accuracy" in metrics:
        return "accuracy", metrics["accuracy"]
    return "mAP@0.5", metrics["map"]["0.5"]


def rank(metrics: dict[str, Any]) -> list[float]:
    """Sort key, greater is better: accuracy or the mean of mAP over all IoUs; then the lower loss."""
    value = metrics["accuracy"] if "accuracy" in metrics else float(np.mean(list(metrics["map"].values())))
    return [value, -metrics["loss"]]


def fitted_thresholds(
    network: InfDetNet, clips: Sequence[PreparedClip], rule: DetectionRule, config: TrainConfig
) -> tuple[float, ...]:
    """Thresholds fitted on these clips; recognition uses none and gets the published ones."""
    classes = network.config.classes
    if network.config.task == "recognition":
        return default_thresholds(classes)
    scores = clip_scores(network, clips, config.device, precision(config))
    return fit_thresholds(scored_clips(scores, clips, rule), classes, rule)


def measure_norms(network: InfDetNet, windows: Windows, config: TrainConfig) -> None:
    """Replace the running statistics of all batch norms by their mean over `norm_windows` training windows.

    Whole batches are needed: single windows would leave the differences between clips, such as brightness, out of the
    variances. The network is in eval mode afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    momentum = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms if config.norm_windows else ():
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    with torch.inference_mode():
        for index in range(ceil(config.norm_windows / config.batch)):
            batch = windows.extra_batch(index)
            forward(network, batch.grey, batch.target, batch.length, precision(config))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    network.eval()

"""Judging a network on whole clips."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from infdet_deploy.detections import DetectionRule
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.thresholds import ScoredClip, detections
from infdet_deploy.model.network import InfDetNet, Streams, append_zero_flow, to_grey
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.training.dataset import PreparedClip
from infdet_deploy.training.losses import Losses, flow_loss, losses


def forward(
    network: InfDetNet,
    grey: Tensor,
    target: Tensor,
    length: Tensor,
    precision: torch.dtype,
    teach: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Logits [B, T', C] and the FEN's flow [B, T, c, h, w], at least float32; FEN and towers in `precision`.

    target: TV-L1 flow [B, T−1, c, h, w]. The flow tower sees it in a network without FEN, and in any with `teach`.
    """
    with torch.autocast(grey.device.type, precision, enabled=precision != torch.float32):
        flow = None if network.fen is None else network.estimate_flow(grey)
        seen = append_zero_flow(target) if flow is None or teach else flow
        streams = network.streams(grey, seen)
    streams = Streams(*(None if part is None else full(part) for part in streams))
    return network.head(streams, length).logits, None if flow is None else full(flow)


def full(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class ClipScores(NamedTuple):
    """scores float32 [T', C], 0–1, and the clip's losses."""

    scores: np.ndarray
    losses: Losses


def clip_scores(
    network: InfDetNet,
    clips: Sequence[PreparedClip],
    device: str = "cpu",
    precision: torch.dtype = torch.float32,
) -> list[ClipScores]:
    """Scores and losses of whole clips, float32, the network in eval mode, its convolutions in `precision`.

    Up to 3 frames at the end are dropped, as when running a bundle, so the scores are those that the bundle gives.
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for clip in map(_as_run, clips):
            grey = to_grey(torch.from_numpy(clip.frames)[None].to(device))
            length = torch.tensor([valid_length(len(clip.frames))], device=device)
            target = torch.from_numpy(clip.flow.astype(np.float32))[None].to(device)
            logits, flow = forward(network, grey, target, length, precision)
            labels = torch.from_numpy(clip.labels)[None].to(device)
            found.append(ClipScores(logits[0].sigmoid().cpu().numpy(), losses(logits, labels, flow, target, length)))
    return found


def _as_run(clip: PreparedClip) -> PreparedClip:
    total = len(clip.frames) // 4 * 4
    labels = clip.labels[: feature_length(total)]
    return dataclasses.replace(clip, frames=clip.frames[:total], flow=clip.flow[: total - 1], labels=labels)


def scored_clips(found: Sequence[ClipScores], clips: Sequence[PreparedClip]) -> list[ScoredClip]:
    """The scores with their clips, for detections and thresholds."""
    return [
        ScoredClip(clip.annotation, one.scores, clip.snippets_per_second)
        for one, clip in zip(found, clips, strict=True)
    ]


def mean_losses(found: Sequence[ClipScores]) -> dict[str, float]:
    """Means over the clips, `{"loss", "classification", "flow"}`."""
    mean = [float(torch.cat(part).mean()) for part in zip(*(one.losses for one in found), strict=True)]
    return dict(zip(("loss", "classification", "flow"), mean, strict=True))


def still_flow_loss(clips: Sequence[PreparedClip]) -> float:
    """The flow loss, mean over the clips, of an estimate that nothing moves: what an FEN must be below to be of use."""
    found = []
    for clip in map(_as_run, clips):
        target = torch.from_numpy(clip.flow.astype(np.float32))[None]
        length = torch.tensor([valid_length(len(clip.frames))])
        found.append(float(flow_loss(torch.zeros_like(target), target, length)))
    return float(np.mean(found))


def evaluate_network(
    network: InfDetNet, clips: Sequence[PreparedClip], rule: DetectionRule, device: str = "cpu"
) -> dict[str, Any]:
    """Losses and mAP (THUMOS'14) of a network on whole clips.

    Returns `{"loss", "classification", "flow", "map": {"0.1": …, "0.5": …}, "ap": {class: {"0.1": …}}}`.
    """
    classes = network.config.classes
    found = clip_scores(network, clips, device)
    scored = detections(scored_clips(found, clips), classes, rule)
    result = mean_average_precision([clip.annotation for clip in clips], scored, "thumos14", classes)
    return {**mean_losses(found), "map": result.map, "ap": result.ap}

"""Judging a network on whole clips, and fitting its thresholds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from infdet_deploy.annotations import ScoredInstance
from infdet_deploy.metrics import IOU_THRESHOLDS, average_precision_thumos14, evaluate
from infdet_deploy.model.network import InfDetNet, Streams, append_zero_flow, to_grey
from infdet_deploy.runtime.detections import DetectionRule, default_thresholds, detect
from infdet_deploy.snippets import valid_length
from infdet_deploy.training.dataset import PreparedClip
from infdet_deploy.training.losses import Losses, losses

_GRID = tuple(round(0.025 * step, 3) for step in range(1, 37))  # thresholds tried, 0.025 to 0.9
_AP_SLACK = 0.05  # AP on the training clips given up to stay near the published threshold


def forward(
    network: InfDetNet, grey: Tensor, target: Tensor, length: Tensor, precision: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Logits [B, T', C] and the FEN's flow [B, T, c, S/4, S/4], float32; FEN and towers in `precision`, the rest in
    float32. target: TV-L1 flow [B, T−1, c, S/4, S/4], which takes the FEN's place in a network that has none."""
    given = None if network.fen is not None else append_zero_flow(target)
    with torch.autocast(grey.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        streams = network.streams(grey, given)
    streams = Streams(*(None if part is None else part.float() for part in streams))
    return network.head(streams, length).logits, None if network.fen is None else streams.flow


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
    """Scores and losses of whole clips, float32, the network in eval mode, its convolutions in `precision`."""
    network.eval()
    found = []
    with torch.inference_mode():
        for clip in clips:
            grey = to_grey(torch.from_numpy(clip.frames)[None].to(device))
            length = torch.tensor([valid_length(len(clip.frames))], device=device)
            target = torch.from_numpy(clip.flow.astype(np.float32))[None].to(device)
            logits, flow = forward(network, grey, target, length, precision)
            labels = torch.from_numpy(clip.labels)[None].to(device)
            found.append(ClipScores(logits[0].sigmoid().cpu().numpy(), losses(logits, labels, flow, target, length)))
    return found


def evaluate_network(
    network: InfDetNet, clips: Sequence[PreparedClip], rule: DetectionRule, device: str = "cpu"
) -> dict[str, Any]:
    """Losses and mAP (THUMOS'14) of a network on whole clips.

    Returns `{"loss", "classification", "flow", "map": {"0.1": …, "0.5": …}, "ap": {class: {"0.1": …}}}`.
    """
    classes = network.config.classes
    found = clip_scores(network, clips, device)
    detections = [
        ScoredInstance(clip.name, d.label, d.start_s, d.end_s, d.score)
        for clip, one in zip(clips, found, strict=True)
        for d in detect(one.scores, classes, rule, clip.snippets_per_second)
    ]
    result = evaluate([clip.annotation for clip in clips], detections, "thumos14", classes, IOU_THRESHOLDS)
    mean = [float(torch.cat(part).mean()) for part in zip(*(one.losses for one in found), strict=True)]
    return dict(zip(("loss", "classification", "flow"), mean, strict=True), map=result["map"], ap=result["ap"])


def fit_thresholds(
    scores: Sequence[ClipScores],
    clips: Sequence[PreparedClip],
    classes: Sequence[str],
    mean_duration_s: Sequence[float],
    iou: float = 0.5,
) -> tuple[float, ...]:
    """For each class the threshold nearest to the published one that comes close to the best AP of a grid.

    A network scores the clips it was trained on better than others, so the very best threshold there says little.
    """
    published = default_thresholds(classes)
    fitted = []
    for index, label in enumerate(classes):
        truth = {
            clip.name: [(i.start_s, i.end_s) for i in clip.annotation.instances if i.label == label] for clip in clips
        }
        values = []
        for threshold in _GRID:
            rule = DetectionRule((threshold,), (mean_duration_s[index],))
            detections = [
                ScoredInstance(clip.name, label, d.start_s, d.end_s, d.score)
                for clip, one in zip(clips, scores, strict=True)
                for d in detect(one.scores[:, index : index + 1], (label,), rule, clip.snippets_per_second)
            ]
            values.append(average_precision_thumos14(truth, detections, iou))
        good = [t for t, value in zip(_GRID, values, strict=True) if value >= max(values) - _AP_SLACK]
        fitted.append(min(good, key=lambda t: abs(t - published[index])))
    return tuple(fitted)

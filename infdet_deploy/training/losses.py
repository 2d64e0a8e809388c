"""The paper's losses: classification and flow, for each sample of a batch (paper III-D)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FLOW_WEIGHT = 0.7


class Losses(NamedTuple):
    """Each float32 [B], a value for every sample."""

    total: Tensor
    classification: Tensor
    flow: Tensor


def classification_loss(logits: Tensor, labels: Tensor, length: Tensor) -> Tensor:
    """Binary cross-entropy summed over snippets and classes, divided by the valid length.

    logits and labels [B, T', C]; length [B], the samples' valid snippets ⌊T/8⌋: later snippets are ignored.
    Returns [B].
    """
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=2)
    valid = torch.arange(loss.shape[1], device=loss.device) < length[:, None]
    return (loss * valid).sum(dim=1) / length


def flow_loss(flow: Tensor, target: Tensor, length: Tensor, pairs: Tensor | None = None) -> Tensor:
    """L1 distance summed over all pairs and pixels, divided by (valid length · c · h · w).

    flow [B, T or T−1, c, h, w], where frame T, always zero, is ignored; target [B, T−1, c, h, w]; length [B]; pairs
    [B]: frame pairs before the padding in time, all by default. Returns [B].
    """
    loss = (flow[:, : target.shape[1]] - target).abs().flatten(2).mean(dim=2)
    if pairs is not None:
        loss = loss * (torch.arange(loss.shape[1], device=loss.device) < pairs[:, None])
    return loss.sum(dim=1) / length


def losses(
    logits: Tensor, labels: Tensor, flow: Tensor | None, target: Tensor, length: Tensor, pairs: Tensor | None = None
) -> Losses:
    """Total = classification + 0.7 · flow, per sample; arguments as above. Without a FEN flow is None, its loss 0."""
    classification = classification_loss(logits, labels, length)
    flow_part = torch.zeros_like(classification) if flow is None else flow_loss(flow, target, length, pairs)
    return Losses(classification + FLOW_WEIGHT * flow_part, classification, flow_part)

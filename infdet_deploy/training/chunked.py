"""Gradients of a whole clip in bounded memory.

The clip goes through FEN and towers three times less one: in chunks without gradients, to get all features; then, with
the loss's gradient at those features known, in the same chunks with gradients. A chunk is read with the towers' halo
on both sides, so its features are those of the whole clip, and what all chunks give a weight adds up to the gradient
that the whole graph would give it. What lies in memory is one chunk's graph and the features of the clip.

Batch norms must be in eval mode: statistics over a chunk would not be those of the clip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.pipeline import chunks
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length
from infdet_deploy.training.losses import FLOW_WEIGHT, Losses, classification_loss, flow_loss


@dataclass(frozen=True)
class WholeClip:
    """One clip as training sees it.

    grey: gives frames start … stop−1 as float32 [stop−start, S, S] in [−1, 1]. target: float [T−1, c, S/4, S/4].
    labels: float32 [T', C]. frames: T, a multiple of 4 from 16. length: valid snippets ⌊T/8⌋.
    """

    grey: Callable[[int, int], Tensor]
    target: Tensor
    labels: Tensor
    frames: int
    length: int


def accumulate_gradients(
    network: InfDetNet,
    clip: WholeClip,
    snippets: int,
    precision: torch.dtype = torch.float32,
    scale: float = 1.0,
) -> Losses:
    """Add `scale` times the gradient of the clip's total loss to the weights' gradients; the losses, each float32 [1].

    snippets: features computed at once. precision: of FEN and towers, bfloat16 by autocast or float32.
    """
    device = next(network.parameters()).device
    length = torch.tensor([clip.length], device=device)
    infrared, moving = [], []
    with torch.no_grad():
        for start, stop, keep in chunks(clip.frames, snippets):
            parts = _features(network, clip, start, stop, precision)
            infrared.append(parts[0][:, keep])
            moving.append(parts[1][:, keep])
    features = [_full(torch.cat(part, 1)).requires_grad_() for part in (infrared, moving)]
    logits = network.classifier(network.sca(*features).fused, length)
    labels = clip.labels[None].to(device)
    assert logits.shape == labels.shape
    classification = classification_loss(logits, labels, length)
    (scale * classification.sum()).backward()
    flow_total = torch.zeros_like(classification.detach())
    total = feature_length(clip.frames)
    for start, stop, keep in chunks(clip.frames, snippets):
        first, last = keep.start + start // FRAMES_PER_SNIPPET, keep.stop + start // FRAMES_PER_SNIPPET
        own = slice(first * FRAMES_PER_SNIPPET, clip.frames - 1 if last == total else last * FRAMES_PER_SNIPPET)
        infrared_features, flow_features, flow = _features(network, clip, start, stop, precision)
        target = _full(clip.target[own].to(device))
        moved = flow_loss(flow[:, own.start - start : own.stop - start], target[None], length)
        loss = FLOW_WEIGHT * moved.sum()
        for part, whole in zip((infrared_features, flow_features), features, strict=True):
            assert whole.grad is not None
            if part.requires_grad:
                gradient = whole.grad[:, first:last]
                # the gradient at the features is scaled already
                loss = loss + (_full(part[:, keep]) * gradient).sum() / scale
        if loss.requires_grad:
            (scale * loss).backward()
        flow_total += moved.detach()
    return Losses((classification + FLOW_WEIGHT * flow_total).detach(), classification.detach(), flow_total)


def _features(
    network: InfDetNet, clip: WholeClip, start: int, stop: int, precision: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Infrared and flow features [1, T', d] and flow [1, stop−start, c, h, w] of the frames start … stop−1 alone."""
    grey = clip.grey(start, min(stop + 1, clip.frames))[None]
    with torch.autocast(grey.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        flow = network.estimate_flow(grey)[:, :-1]  # of each frame to the next, the last one's left out
        if stop == clip.frames:
            flow = F.pad(flow, (0, 0, 0, 0, 0, 0, 0, 1))  # there is no next frame
        infrared = network.infrared_tower(grey[:, None, : stop - start])
        moving = network.flow_to_features(flow)
    return infrared, moving, _full(flow)


def _full(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

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
from torch import Tensor

from infdet_deploy.model.network import InfDetNet, Streams, append_zero_flow
from infdet_deploy.runtime.chunks import chunks
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length
from infdet_deploy.training.evaluation import full
from infdet_deploy.training.losses import FLOW_WEIGHT, Losses, classification_loss, flow_loss


@dataclass(frozen=True)
class WholeClip:
    """One clip as training sees it.

    grey: gives frames start … stop−1 as float32 [stop−start, S, S] in [−1, 1]. target: float [T−1, c, h, w].
    labels: float32 [T', C]. frames: T, a multiple of 4 from 16. length: valid snippets ⌊T/8⌋. infrared: the features
    float32 [T', d] of a frozen infrared tower where they are known.
    """

    grey: Callable[[int, int], Tensor]
    target: Tensor
    labels: Tensor
    frames: int
    length: int
    infrared: Tensor | None = None


def accumulate_gradients(
    network: InfDetNet,
    clip: WholeClip,
    snippets: int,
    precision: torch.dtype = torch.float32,
    scale: float = 1.0,
    teach: bool = False,
) -> Losses:
    """Add `scale` times the gradient of the clip's total loss to the weights' gradients; the losses, each float32 [1].

    snippets: features computed at once. precision: of FEN and towers, by autocast. teach: show the flow tower the
    target flow instead of the FEN's.
    """
    device = next(network.parameters()).device
    length = torch.tensor([clip.length], device=device)
    collected: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for start, stop, keep in chunks(clip.frames, snippets):
            for name, part in _features(_streams(network, clip, start, stop, precision, teach)).items():
                collected.setdefault(name, []).append(part[:, keep])
    features = {name: full(torch.cat(parts, 1)).requires_grad_() for name, parts in collected.items()}
    known = {} if clip.infrared is None else {"infrared": clip.infrared[None].to(device)}
    logits = network.head(Streams(None, None, None)._replace(**features, **known), length).logits
    labels = clip.labels[None].to(device)
    assert logits.shape == labels.shape
    classification = classification_loss(logits, labels, length)
    (scale * classification.sum()).backward()
    flow_total = torch.zeros_like(classification.detach())
    total = feature_length(clip.frames)
    for start, stop, keep in chunks(clip.frames, snippets):
        first, last = keep.start + start // FRAMES_PER_SNIPPET, keep.stop + start // FRAMES_PER_SNIPPET
        own = slice(first * FRAMES_PER_SNIPPET, clip.frames - 1 if last == total else last * FRAMES_PER_SNIPPET)
        streams = _streams(network, clip, start, stop, precision, teach)
        moved = torch.zeros_like(flow_total)
        if streams.flow is not None:
            target = full(clip.target[own].to(device))
            moved = flow_loss(streams.flow[:, own.start - start : own.stop - start], target[None], length)
        loss = FLOW_WEIGHT * moved.sum()
        for name, part in _features(streams).items():
            if part.requires_grad:
                gradient = features[name].grad
                assert gradient is not None
                # the gradient at the features is scaled already
                loss = loss + (full(part[:, keep]) * gradient[:, first:last]).sum() / scale
        if loss.requires_grad:
            (scale * loss).backward()
        flow_total += moved.detach()
    return Losses((classification + FLOW_WEIGHT * flow_total).detach(), classification.detach(), flow_total)


def _streams(
    network: InfDetNet, clip: WholeClip, start: int, stop: int, precision: torch.dtype, teach: bool
) -> Streams:
    """The FEN's flow and the features of the frames start … stop−1 alone; the last one's flow is to the next frame."""
    grey = clip.grey(start, min(stop + 1, clip.frames))[None]
    flow = seen = None
    with torch.autocast(grey.device.type, precision, enabled=precision != torch.float32):
        if network.fen is not None:
            flow = seen = _to_the_end(network.estimate_flow(grey)[:, :-1], stop == clip.frames)
        if network.flow_tower is not None and (flow is None or teach):
            target = full(clip.target[start : min(stop, clip.frames - 1)].to(grey.device))[None]
            seen = _to_the_end(target, stop == clip.frames)
        if clip.infrared is None:
            streams = network.streams(grey[:, : stop - start], seen)
        else:
            streams = Streams(None, None, None if seen is None else network.flow_to_features(seen))
    return streams._replace(flow=None if flow is None else full(flow))


def _to_the_end(flow: Tensor, ends: bool) -> Tensor:
    return append_zero_flow(flow) if ends else flow


def _features(streams: Streams) -> dict[str, Tensor]:
    """The features that were computed, by name."""
    return {name: part for name in ("infrared", "moving") if (part := getattr(streams, name)) is not None}

"""Gradients of a whole clip in bounded memory.

FEN and towers make two forward passes over the clip, in chunks. The first, without gradients, collects all features for
the head. The second, with gradients, starts from the loss's gradient at those features. A chunk includes the towers'
halo on both sides, so its features are those of the whole clip, and the chunks' gradients add up to the gradient of the
whole graph. Peak memory is one chunk's graph plus the features of the clip.

Batch norms must be in eval mode: statistics of a chunk are not those of the clip.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infdet_deploy.model.network import InfDetNet, Streams, append_zero_flow
from infdet_deploy.model.precision import full
from infdet_deploy.runtime.chunks import chunks
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length
from infdet_deploy.training.losses import FLOW_WEIGHT, Losses, classification_loss, flow_loss


@dataclass(frozen=True)
class WholeClip:
    """One clip.

    grey: returns frames start … stop−1 as float32 [stop−start, S, S] in [−1, 1]. target: flow, float [T−1, c, h, w].
    labels: float32 [T', C]. frames: T, a multiple of 4, at least 16. length: valid snippets ⌊T/8⌋.
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
    dtype: torch.dtype = torch.float32,
    scale: float = 1.0,
    teach: bool = False,
) -> Losses:
    """Add `scale` times the gradient of the clip's total loss to the weights' gradients; returns losses, float32 [1].

    snippets: features computed at once. dtype: of FEN and towers, by autocast. teach: the flow tower sees the target
    flow instead of the FEN's.
    """
    device = next(network.parameters()).device
    length = torch.tensor([clip.length], device=device)
    collected: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for start, stop, keep in chunks(clip.frames, snippets):
            for name, part in _features(_streams(network, clip, start, stop, dtype, teach)).items():
                collected.setdefault(name, []).append(part[:, keep])
    features = {name: full(torch.cat(parts, 1)).requires_grad_() for name, parts in collected.items()}
    logits = network.head(Streams(None, None, None)._replace(**features), length).logits
    labels = clip.labels[None].to(device)
    assert logits.shape == labels.shape
    classification = classification_loss(logits, labels, length)
    (scale * classification.sum()).backward()
    flow_total = torch.zeros_like(classification.detach())
    total = feature_length(clip.frames)
    # A frozen infrared tower has no gradient to compute; a frozen flow tower passes one on to the FEN.
    infrared = network.infrared_tower is not None and any(p.requires_grad for p in network.infrared_tower.parameters())
    for start, stop, keep in chunks(clip.frames, snippets):
        first, last = keep.start + start // FRAMES_PER_SNIPPET, keep.stop + start // FRAMES_PER_SNIPPET
        own = slice(first * FRAMES_PER_SNIPPET, clip.frames - 1 if last == total else last * FRAMES_PER_SNIPPET)
        streams = _streams(network, clip, start, stop, dtype, teach, infrared)
        loss = torch.zeros((), dtype=flow_total.dtype, device=device)
        if streams.flow is not None:
            target = full(clip.target[own].to(device))
            chunk_loss = flow_loss(streams.flow[:, own.start - start : own.stop - start], target[None], length)
            loss = loss + FLOW_WEIGHT * chunk_loss.sum()
            flow_total += chunk_loss.detach()
        for name, part in _features(streams).items():
            if part.requires_grad:
                gradient = features[name].grad
                assert gradient is not None
                # the gradient at the features is scaled already
                loss = loss + (full(part[:, keep]) * gradient[:, first:last]).sum() / scale
        if loss.requires_grad:
            (scale * loss).backward()
    return Losses((classification + FLOW_WEIGHT * flow_total).detach(), classification.detach(), flow_total)


def _streams(
    network: InfDetNet,
    clip: WholeClip,
    start: int,
    stop: int,
    dtype: torch.dtype,
    teach: bool,
    infrared: bool = True,
) -> Streams:
    """The FEN's flow and the features of frames start … stop−1 alone, without the infrared ones if not `infrared`.

    The flow of the last frame points to frame `stop`.
    """
    grey = clip.grey(start, min(stop + 1, clip.frames))[None]
    flow = seen = None
    with torch.autocast(grey.device.type, dtype, enabled=dtype != torch.float32):
        if network.fen is not None:
            flow = seen = _to_the_end(network.estimate_flow(grey)[:, :-1], stop == clip.frames)
        if network.flow_tower is not None and (flow is None or teach):
            target = full(clip.target[start : min(stop, clip.frames - 1)].to(grey.device))[None]
            seen = _to_the_end(target, stop == clip.frames)
        if infrared:
            streams = network.streams(grey[:, : stop - start], seen)
        else:
            streams = Streams(None, None, None if seen is None else network.flow_to_features(seen))
    return streams._replace(flow=None if flow is None else full(flow))


def _to_the_end(flow: Tensor, ends: bool) -> Tensor:
    return append_zero_flow(flow) if ends else flow


def _features(streams: Streams) -> dict[str, Tensor]:
    """The features that were computed, by name."""
    return {
        name: part for name in ("infrared_features", "flow_features") if (part := getattr(streams, name)) is not None
    }

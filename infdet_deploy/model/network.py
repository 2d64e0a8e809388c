"""The network: grey frames → flow → two feature streams → fused features → a logit per snippet and class."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.classifier import LateClassifier, SnippetClassifier
from infdet_deploy.model.fen import FlowEstimationNetwork, neighbour_pairs
from infdet_deploy.model.fusion import build_fusion
from infdet_deploy.model.i3d import I3D
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import MIN_FRAMES, valid_length


class Streams(NamedTuple):
    """The towers' features [B, T', d] and the flow [B, T, c, h, w] in (−1, 1), whose last frame is zero.

    None for parts that the network does not have.
    """

    flow: Tensor | None
    infrared_features: Tensor | None
    flow_features: Tensor | None


class NetworkOutput(NamedTuple):
    """Logits and intermediate results, float32; None for parts that the network does not have.

    flow [B, T, c, h, w] in (−1, 1), the last frame zero; infrared_features, flow_features [B, T', d]; fused
    [B, T', d or 2d]; stream_weight [B], the infrared stream's share; attention [B, T', T']; logits [B, T', C].
    """

    flow: Tensor | None
    infrared_features: Tensor | None
    flow_features: Tensor | None
    stream_weight: Tensor | None
    fused: Tensor
    attention: Tensor | None
    logits: Tensor


def enlarge_flow(flow: Tensor, stride: int) -> Tensor:
    """Flow [N, c, h, w] at every `stride`-th pixel → at every pixel, bilinear."""
    return F.interpolate(flow, scale_factor=float(stride), mode="bilinear", align_corners=False) if stride > 1 else flow


class InfDetNet(nn.Module):
    """Infrared action detection network (paper, figure 3); parts that its configuration leaves out are None."""

    enlarge = staticmethod(enlarge_flow)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.fen = FlowEstimationNetwork(config) if config.has_fen else None
        self.infrared_tower = I3D(config, inputs=3) if config.streams != "flow" else None
        self.flow_tower = I3D(config, inputs=config.flow_channels) if config.has_flow else None
        self.fusion = build_fusion(config)
        self.classifier = (LateClassifier if config.fusion == "late" else SnippetClassifier)(config)

    def towers(self) -> list[I3D]:
        """The towers of this network."""
        return [tower for tower in (self.infrared_tower, self.flow_tower) if tower is not None]

    def estimate_flow(self, grey: Tensor) -> Tensor:
        """grey [B, T, H, W] → flow [B, T, c, h, w]; the last frame has no next one, its flow is zero."""
        assert self.fen is not None
        pairs = torch.cat([neighbour_pairs(clip, self.config.flow_stride) for clip in grey])
        return append_zero_flow(self.fen(pairs).unflatten(0, (grey.shape[0], -1)))

    def flow_to_features(self, flow: Tensor) -> Tensor:
        """flow [B, T, c, h, w] → features [B, T', d]; the flow is enlarged to the frames' size."""
        assert self.flow_tower is not None
        large = self.enlarge(flow.flatten(0, 1), self.config.flow_stride)
        features: Tensor = self.flow_tower(large.unflatten(0, flow.shape[:2]).transpose(1, 2))
        return features

    def streams(self, grey: Tensor, flow: Tensor | None = None) -> Streams:
        """grey [B, T, H, W] → flow and features. flow: replaces the FEN's; required without FEN."""
        infrared = None if self.infrared_tower is None else self.infrared_tower(grey[:, None])
        if self.flow_tower is None:
            return Streams(None, infrared, None)
        if flow is None:
            if self.fen is None:
                raise ValueError("this network has no FEN; pass TV-L1 flow")
            flow = self.estimate_flow(grey)
        return Streams(flow, infrared, self.flow_to_features(flow))

    def head(self, streams: Streams, length: Tensor) -> NetworkOutput:
        """Features → logits; length: int [B], valid snippets."""
        fusion = self.fusion(*(part for part in (streams.infrared_features, streams.flow_features) if part is not None))
        logits = self.classifier(fusion.fused, length)
        return NetworkOutput(*streams, fusion.stream_weight, fusion.fused, fusion.attention, logits)

    def forward(self, grey: Tensor, length: Tensor | int | None = None, flow: Tensor | None = None) -> NetworkOutput:
        """grey: float32 [B, T, H, W] in (−1, 1), T ≥ 16, H = W = config.size.

        length: valid snippets, one for all clips or int [B]; ⌊T/8⌋ by default. flow: as for `streams`. Raises
        ValueError for another shape, and without flow if the network has no FEN.
        """
        size = self.config.size
        if grey.ndim != 4 or grey.shape[1] < MIN_FRAMES or grey.shape[2:] != (size, size):
            raise ValueError(f"frames of shape {tuple(grey.shape)}, expected [B, T >= {MIN_FRAMES}, {size}, {size}]")
        if length is None:
            length = valid_length(grey.shape[1])
        if isinstance(length, int):
            length = torch.full(grey.shape[:1], length, device=grey.device)
        return self.head(self.streams(grey, flow), length)


def append_zero_flow(flow: Tensor) -> Tensor:
    """Flow between T frames [B, T−1, c, h, w] → [B, T, c, h, w], zero for the last frame."""
    return F.pad(flow, (0, 0, 0, 0, 0, 0, 0, 1))


def to_grey(frames: Tensor) -> Tensor:
    """uint8 grey levels 0…255 → float32 in [−1, 1]."""
    return frames.float() / 255 * 2 - 1

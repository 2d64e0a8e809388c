"""The whole network: grey frames → flow → two feature streams → fused features → a logit per snippet and class."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.classifier import SnippetClassifier
from infdet_deploy.model.fen import FlowEstimationNetwork, neighbour_pairs
from infdet_deploy.model.i3d import I3D
from infdet_deploy.model.presets import FLOW_STRIDE, ModelConfig
from infdet_deploy.model.sca import SelectiveCrossAttention
from infdet_deploy.snippets import MIN_FRAMES, valid_length


class NetworkOutput(NamedTuple):
    """Everything the network computes on the way, float32.

    flow [B, T, c, H/4, W/4] in (−1, 1), the last one zero; infrared_features, flow_features, fused [B, T', d];
    stream_weight [B], the infrared stream's share; attention [B, T', T']; logits [B, T', C].
    """

    flow: Tensor
    infrared_features: Tensor
    flow_features: Tensor
    stream_weight: Tensor
    fused: Tensor
    attention: Tensor
    logits: Tensor


class InfDetNet(nn.Module):
    """Infrared action detection network (paper, figure 3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.fen = FlowEstimationNetwork(config)
        self.infrared_tower = I3D(config, inputs=3)
        self.flow_tower = I3D(config, inputs=config.flow_channels)
        self.sca = SelectiveCrossAttention(config)
        self.classifier = SnippetClassifier(config)

    def estimate_flow(self, grey: Tensor) -> Tensor:
        """grey [B, T, H, W] → flow [B, T, c, H/4, W/4]; frame T−1 has no next frame: its flow is zero."""
        pairs = torch.cat([neighbour_pairs(clip) for clip in grey])
        flow = self.fen(pairs).unflatten(0, (grey.shape[0], -1))
        return F.pad(flow, (0, 0, 0, 0, 0, 0, 0, 1))

    def flow_to_features(self, flow: Tensor) -> Tensor:
        """flow [B, T, c, H/4, W/4] → features [B, T', d], through the enlargement to the frames' size."""
        large = F.interpolate(flow.flatten(0, 1), scale_factor=FLOW_STRIDE, mode="bilinear", align_corners=False)
        return self.flow_tower(large.unflatten(0, flow.shape[:2]).transpose(1, 2))

    def forward(self, grey: Tensor, length: Tensor | int | None = None) -> NetworkOutput:
        """grey: float32 [B, T, H, W] in (−1, 1), T ≥ 16, H = W = config.size.

        length: valid snippets, one for all clips or int [B]; ⌊T/8⌋ by default. Raises ValueError for another shape.
        """
        size = self.config.size
        if grey.ndim != 4 or grey.shape[1] < MIN_FRAMES or grey.shape[2:] != (size, size):
            raise ValueError(f"frames of shape {tuple(grey.shape)}, expected [B, T >= {MIN_FRAMES}, {size}, {size}]")
        if length is None:
            length = valid_length(grey.shape[1])
        if isinstance(length, int):
            length = torch.full(grey.shape[:1], length, device=grey.device)
        flow = self.estimate_flow(grey)
        infrared_features = self.infrared_tower(grey[:, None])
        flow_features = self.flow_to_features(flow)
        fused, attention, weight = self.sca(infrared_features, flow_features)
        logits = self.classifier(fused, length)
        return NetworkOutput(flow, infrared_features, flow_features, weight, fused, attention, logits)


def to_grey(frames: Tensor) -> Tensor:
    """uint8 grey levels 0…255 → float32 in [−1, 1]."""
    return frames.float() / 255 * 2 - 1

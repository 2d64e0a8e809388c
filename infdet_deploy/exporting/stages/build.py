"""The network's deployable stages: raw grey bytes in, scores out, all other steps inside the graphs.

Each stage is a plain module made from a trained network's own layers, rewritten where the algebra is exact: BatchNorm
folded into its convolution, the three equal grey channels into one, their scaling into the first weights, the flow's
enlargement into the flow tower's first layer (`stem.py`), mixture kernels into constants, SAME padding into fixed
padding (T is a multiple of 4 and the size of 32, so the padding is the same for every clip). Weights and arithmetic are
in `dtype`. Operations that would overflow or lose digits in float16 stay float32: instance norm, the attention's
energies and softmax, super-event filters, sigmoids. Tensors between stages are float32.
"""

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.schema import STAGES_OF
from infdet_deploy.exporting.stages.head import HeadStage, SingleHeadStage
from infdet_deploy.exporting.stages.stem import GREY, EnlargingStem, FlatStem
from infdet_deploy.exporting.stages.tower import LAYERS_2D, LAYERS_3D, FoldedTower, Layers, fold
from infdet_deploy.model.classifier import SuperEvent
from infdet_deploy.model.enlargement import spans
from infdet_deploy.model.fen import FlowEstimationNetwork, instance_norm, neighbour_pairs
from infdet_deploy.model.fusion import Attention
from infdet_deploy.model.i3d import ENDPOINTS, POOLS, STEM
from infdet_deploy.model.network import InfDetNet, append_zero_flow
from infdet_deploy.snippets import valid_length


def _norm32(x: Tensor) -> Tensor:
    return instance_norm(x.float()).to(x.dtype)


class FenStage(nn.Module):
    """frames uint8 [T+1, S, S] → flow float32 [T, c, h, w]."""

    def __init__(self, fen: FlowEstimationNetwork, stride: int, dtype: torch.dtype) -> None:
        super().__init__()
        fen = copy.deepcopy(fen)
        weight = fen.conv1.weight.unflatten(1, (2, 3)).sum(2)  # type: ignore[no-untyped-call, unused-ignore]
        self.conv1 = nn.Conv2d(2, len(weight), 7, stride=2)
        self.conv1.weight = nn.Parameter(weight / GREY)
        # The instance norm removes the bias again; without it, values before the norm would be too coarse in float16.
        self.conv1.bias = nn.Parameter(-weight.sum((1, 2, 3)))
        layers = (fen.layer1, fen.layer2, fen.layer3, fen.layer4)
        for layer in layers:
            layer.norm = _norm32
        self.layers = nn.ModuleList(layers)
        self.deconvs = nn.ModuleList((fen.deconv4, fen.deconv3, fen.deconv2))
        for deconv in self.deconvs:
            deconv.register_parameter("bias", None)  # the instance norm after it removes every constant
        self.flow_pred = fen.flow_pred
        self.stride, self.dtype = stride, dtype
        self.to(dtype)

    def forward(self, frames: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(_norm32(self.conv1(self.pairs(frames)))), 3, stride=2, padding=1)
        for layer in self.layers:
            x = layer(x)
        for deconv in self.deconvs:
            x = F.leaky_relu(_norm32(deconv(x)), 0.1)
        return torch.tanh(self.flow_pred(x).float())

    def pairs(self, frames: Tensor) -> Tensor:
        """frames uint8 [T+1, S, S] → the first layer's input [T, 2, h+6, w+6], each frame with the next one."""
        return F.pad(neighbour_pairs(frames.to(self.dtype), self.stride), (3, 3, 3, 3), value=GREY)


class TowerStage(nn.Module):
    """frames uint8 [T, S, S], or flow float32 [T, c, h, h], T a multiple of 4 → features float32 [T', d]."""

    def __init__(self, tower: FoldedTower, of_flow: bool) -> None:
        super().__init__()
        self.tower, self.of_flow = tower, of_flow

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.tower(x if self.of_flow else x.float()[:, None])
        return features


def build_tower(name: str, network: InfDetNet, dtype: torch.dtype, start: str, layers: Layers) -> FoldedTower:
    """The layers of `infrared_tower` ([T, 1, S, S] of grey levels 0…255) or `flow_tower` ([T, c, h, h]).

    dtype, start: as for `FoldedTower`. The flow's enlargement is part of the first layer.
    """
    config = network.config
    if name == "infrared_tower":
        assert network.infrared_tower is not None
        stem = FlatStem.of_bytes(*fold(network.infrared_tower.Conv3d_1a_7x7, grey=True))
        return FoldedTower(network.infrared_tower, stem, dtype, start, layers)
    assert network.flow_tower is not None
    weight, bias = fold(network.flow_tower.Conv3d_1a_7x7)
    if config.flow_stride == 1:
        return FoldedTower(network.flow_tower, FlatStem(weight, bias), dtype, start, layers)
    enlarging = EnlargingStem(weight, bias, config.flow_stride, config.flow_size)
    return FoldedTower(network.flow_tower, enlarging, dtype, start, layers)


class NetworkStage(nn.Module):
    """All stages in one graph: frames uint8 [T, S, S], T a multiple of 4 → scores float32 [T', C] in (0, 1)."""

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)

    def forward(self, frames: Tensor) -> Tensor:
        stages, features = self.stages, []
        if "infrared_tower" in stages:
            features.append(stages["infrared_tower"](frames))
        if "flow_tower" in stages:
            flow = append_zero_flow(stages["fen"](frames)[None])[0]
            features.append(stages["flow_tower"](flow))
        length = torch.full((1,), valid_length(frames.shape[0]), dtype=torch.int64)
        scores: Tensor = stages["head"](*features, length)
        return scores


# Where a tower's float16 may start. A network whose activations hardly vary, for example after few training steps,
# loses too much precision in its first layers.
TOWER_STARTS = (ENDPOINTS[0], "MaxPool3d_2a_3x3", "MaxPool3d_3a_3x3", "MaxPool3d_4a_3x3")


def build_stage(
    name: str, network: InfDetNet, dtype: torch.dtype, starts: Mapping[str, str] = {}, conv2d: bool = False
) -> nn.Module:
    """One stage of a network in eval mode, with weights and arithmetic in `dtype`; the network is not changed.

    starts: tower → its first endpoint in `dtype`, by default the first of all; the endpoints before it stay float32.
    conv2d: without 3D operators (only towers have any).
    """
    config = network.config
    with torch.no_grad():
        if name == NETWORK:
            parts = {part: build_stage(part, network, dtype, starts, conv2d) for part in STAGES_OF[config.streams]}
            stage: nn.Module = NetworkStage(parts)
        elif name == "fen":
            assert network.fen is not None
            stage = FenStage(network.fen, config.flow_stride, dtype)
        elif name == "head":
            stage = (HeadStage if config.streams == "both" else SingleHeadStage)(network, dtype)
        else:
            start = starts.get(name, ENDPOINTS[0])
            tower = build_tower(name, network, dtype, start, LAYERS_2D if conv2d else LAYERS_3D)
            stage = TowerStage(tower, of_flow=name == "flow_tower")
    return stage.eval().requires_grad_(False)


def float32_operators(name: str, network: InfDetNet, starts: Mapping[str, str] = {}) -> int:
    """The number of float32 convolutions and matrix products in a float16 stage.

    In a tower: those before its start. In the head: each attention's energies and four products of each classifier's
    super-events.
    """
    config = network.config
    if name == NETWORK:
        return sum(float32_operators(part, network, starts) for part in STAGES_OF[config.streams])
    if name == "head":
        attentions = sum(isinstance(module, Attention) for module in network.fusion.modules())
        return attentions + 4 * sum(isinstance(m, SuperEvent) for m in network.classifier.modules())
    before = ENDPOINTS[: ENDPOINTS.index(starts.get(name, ENDPOINTS[0]))]
    convolutions = dict.fromkeys(POOLS, 0) | {e: 6 for e in ENDPOINTS if e.startswith("Mixed")}
    if name == "flow_tower" and config.flow_stride > 1:
        convolutions[STEM] = len(spans(config.flow_size, config.flow_stride)) ** 2
    return sum(convolutions.get(endpoint, 1) for endpoint in before)

"""The network cut into its deployable stages: raw grey bytes in, scores out, everything between inside the graphs.

Each stage is a plain module made from a trained network's own layers, rewritten where the algebra is exact: BatchNorm
folded into its convolution, the three equal grey channels into one, their scaling into the first weights, the flow's
enlargement into the flow tower's first layer (`stem.py`), mixture kernels into constants, SAME padding into fixed
padding (T is a multiple of 4, the size of 32, so it is the same for every clip). Weights and
arithmetic are in `dtype`; what would overflow or lose digits in float16 stays float32: instance norm, the attention's
energies and softmax, super-event filters, sigmoids. Tensors that cross from stage to stage are float32.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.bundle.loading import NETWORK, STAGES_OF
from infdet_deploy.exporting.conv2d import Tower2d, Unit2d, clip_of
from infdet_deploy.exporting.head import HeadStage, SingleHeadStage
from infdet_deploy.exporting.stem import GREY, EnlargingStem, FlatStem
from infdet_deploy.model.classifier import SuperEvent
from infdet_deploy.model.enlargement import spans
from infdet_deploy.model.fen import FlowEstimationNetwork, ResidualBlock, instance_norm, neighbour_pairs
from infdet_deploy.model.fusion import Attention
from infdet_deploy.model.i3d import ENDPOINTS, I3D, POOLS, Mixed, Unit3d
from infdet_deploy.model.network import InfDetNet, append_zero_flow
from infdet_deploy.snippets import valid_length


def _norm32(x: Tensor) -> Tensor:
    return instance_norm(x.float()).to(x.dtype)


class _Block(nn.Module):
    """A residual block with its instance norms in float32."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1, self.conv2, self.projection = block.conv1, block.conv2, block.projection

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.projection is None else _norm32(self.projection(x))
        x = F.relu(_norm32(self.conv1(x)))
        return F.relu(_norm32(self.conv2(x)) + shortcut)


class FenStage(nn.Module):
    """frames uint8 [T+1, S, S] → flow float32 [T, c, h, w]."""

    def __init__(self, fen: FlowEstimationNetwork, stride: int, dtype: torch.dtype) -> None:
        super().__init__()
        fen = copy.deepcopy(fen)
        weight = fen.conv1.weight.unflatten(1, (2, 3)).sum(2)
        self.conv1 = nn.Conv2d(2, len(weight), 7, stride=2)
        self.conv1.weight = nn.Parameter(weight / GREY)
        # The instance norm takes it away again; until then values without it would be large, and float16 coarse.
        self.conv1.bias = nn.Parameter(-weight.sum((1, 2, 3)))
        self.layers = nn.ModuleList(_Block(b) for b in (fen.layer1, fen.layer2, fen.layer3, fen.layer4))
        self.deconvs = nn.ModuleList((fen.deconv4, fen.deconv3, fen.deconv2))
        for deconv in self.deconvs:
            deconv.register_parameter("bias", None)  # the instance norm after it takes every constant away
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
        """What the first layer reads."""
        return F.pad(neighbour_pairs(frames.to(self.dtype), self.stride), (3, 3, 3, 3), value=GREY)


class FoldedUnit(nn.Module):
    """Convolution with its BatchNorm folded in, ReLU. `grey` sums the three input channels' kernels into one."""

    def __init__(self, unit: Unit3d, grey: bool = False) -> None:
        super().__init__()
        conv, bn = unit.conv3d, unit.bn
        assert bn.running_var is not None
        assert bn.running_mean is not None
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        weight = conv.weight * scale[:, None, None, None, None]
        self.weight = nn.Parameter(weight.sum(1, keepdim=True) if grey else weight)
        self.bias = nn.Parameter(bn.bias - bn.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv3d(x, self.weight, self.bias, padding=self.weight.shape[2] // 2))


class FoldedMixed(nn.Module):
    def __init__(self, block: Mixed) -> None:
        super().__init__()
        self.b0 = FoldedUnit(block.b0)
        self.b1a, self.b1b = FoldedUnit(block.b1a), FoldedUnit(block.b1b)
        self.b2a, self.b2b = FoldedUnit(block.b2a), FoldedUnit(block.b2b)
        self.b3b = FoldedUnit(block.b3b)

    def forward(self, x: Tensor) -> Tensor:
        # After a ReLU nothing is below the pad value 0, so padding with 0 and with −∞ give the same maximum.
        pooled = F.max_pool3d(x, 3, stride=1, padding=1)
        return torch.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)), dim=1)


class FoldedTower(nn.Module):
    """[T, C, S, S] float32 → features [T', d] float32; endpoints before `begin` are float32, the others in `dtype`.

    stem: the first layer, see `stem.py`. Up to the first convolution over time after it, time is the batch axis.
    """

    def __init__(self, tower: I3D, stem: nn.Module, dtype: torch.dtype, begin: str) -> None:
        super().__init__()
        self.dtype, self.begin = dtype, begin
        for name, child in tower.named_children():
            if isinstance(child, Mixed):
                self.add_module(name, FoldedMixed(child))
            elif isinstance(child, Unit3d):
                if name == "Conv3d_1a_7x7":
                    self.add_module(name, stem)
                else:
                    unit = FoldedUnit(child)
                    self.add_module(name, Unit2d(unit) if name == "Conv3d_2b_1x1" else unit)
            if ENDPOINTS.index(name) >= ENDPOINTS.index(begin):
                getattr(self, name).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        for name in ENDPOINTS:
            if name == self.begin:
                x = x.to(self.dtype)
            if name == "Conv3d_2c_3x3":
                x = clip_of(x)
            if name not in POOLS:
                x = getattr(self, name)(x)
                continue
            # Even lengths need padding at the end only, which is what rounding the output up does. An odd length meets
            # only the last pool, 2 wide, where the same holds.
            kernel, stride = POOLS[name]
            if x.ndim == 4:
                x = F.max_pool2d(x, kernel[1:], stride[1:], ceil_mode=True)
            else:
                x = F.max_pool3d(x, kernel, stride, ceil_mode=True)
        # The mean over space in float32: 98 float16 addends would lose digits.
        x = F.avg_pool3d(x.float(), (2, x.shape[-2], x.shape[-1]), stride=1)
        return x.squeeze((0, 3, 4)).transpose(0, 1)


class InfraredTowerStage(nn.Module):
    """frames uint8 [T, S, S], T a multiple of 4 → features float32 [T', d]."""

    def __init__(self, tower: I3D, dtype: torch.dtype, begin: str = ENDPOINTS[0], conv2d: bool = False) -> None:
        super().__init__()
        unit = FoldedUnit(tower.Conv3d_1a_7x7, grey=True)
        folded = FoldedTower(tower, FlatStem.of_bytes(unit.weight, unit.bias), dtype, begin)
        self.tower = Tower2d(folded) if conv2d else folded

    def forward(self, frames: Tensor) -> Tensor:
        return self.tower(frames.float()[:, None])


class FlowTowerStage(nn.Module):
    """flow float32 [T, c, h, h], T a multiple of 4 → features float32 [T', d]. stride: the frames' size over h."""

    def __init__(
        self, tower: I3D, stride: int, size: int, dtype: torch.dtype, begin: str = ENDPOINTS[0], conv2d: bool = False
    ) -> None:
        super().__init__()
        unit = FoldedUnit(tower.Conv3d_1a_7x7)
        stem = EnlargingStem(unit.weight, unit.bias, stride, size) if stride > 1 else FlatStem(unit.weight, unit.bias)
        folded = FoldedTower(tower, stem, dtype, begin)
        self.tower = Tower2d(folded) if conv2d else folded

    def forward(self, flow: Tensor) -> Tensor:
        return self.tower(flow)


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
        return stages["head"](*features, length)


@dataclass(frozen=True)
class TensorSpec:
    """A stage's input or output. shape: integers, or names of dimensions that vary (`T` in steps of 4, `T'`)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class StageSpec:
    """Names, dtypes and shapes at a stage's two ends; one definition for every format, report and runtime."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def stage_specs(network: InfDetNet) -> dict[str, StageSpec]:
    """The tensors of the stages, and of all of them joined, for this network's size, width and classes."""
    config = network.config
    size, small, d = config.size, config.flow_size, config.features
    flow = TensorSpec("flow", "float32", ("T", config.flow_channels, small, small))
    frames = TensorSpec("frames", "uint8", ("T", size, size))
    features = TensorSpec("features", "float32", ("T'", d))
    streams = {"both": ("infrared", "flow")}.get(config.streams, (config.streams,))
    head_inputs = (
        *(TensorSpec(f"{stream}_features", "float32", ("T'", d)) for stream in streams),
        TensorSpec("length", "int64", (1,)),
    )
    scores = TensorSpec("scores", "float32", ("T'", len(config.classes)))
    specs = {
        "fen": StageSpec((TensorSpec("frames", "uint8", ("T+1", size, size)),), (flow,)),
        "infrared_tower": StageSpec((frames,), (features,)),
        "flow_tower": StageSpec((flow,), (features,)),
        "head": StageSpec(head_inputs, (scores,)),
        NETWORK: StageSpec((frames,), (scores,)),
    }
    return {name: specs[name] for name in (*STAGES_OF[config.streams], NETWORK)}


# Where a tower's float16 may begin. A network whose activations hardly vary, such as one of a few training steps,
# loses too much in its first layers.
TOWER_BEGINS = (ENDPOINTS[0], "MaxPool3d_2a_3x3", "MaxPool3d_3a_3x3", "MaxPool3d_4a_3x3")


def build_stage(
    name: str, network: InfDetNet, dtype: torch.dtype, begins: Mapping[str, str] = {}, conv2d: bool = False
) -> nn.Module:
    """One stage of a network in eval mode, with weights and arithmetic in `dtype`; the network is not changed.

    begins: for each tower its first endpoint in `dtype`, its first one by default; those before it stay float32.
    conv2d: without 3D operators, which only the towers have.
    """
    begin = begins.get(name, ENDPOINTS[0])
    with torch.no_grad():
        if name == NETWORK:
            parts = {
                part: build_stage(part, network, dtype, begins, conv2d) for part in STAGES_OF[network.config.streams]
            }
            stage: nn.Module = NetworkStage(parts)
        elif name == "fen":
            assert network.fen is not None
            stage = FenStage(network.fen, network.config.flow_stride, dtype)
        elif name == "infrared_tower":
            assert network.infrared_tower is not None
            stage = InfraredTowerStage(network.infrared_tower, dtype, begin, conv2d)
        elif name == "flow_tower":
            assert network.flow_tower is not None
            config = network.config
            stage = FlowTowerStage(network.flow_tower, config.flow_stride, config.flow_size, dtype, begin, conv2d)
        else:
            head = HeadStage if network.config.streams == "both" else SingleHeadStage
            stage = head(network, dtype)
    return stage.eval().requires_grad_(False)


def float32_operators(name: str, network: InfDetNet, begins: Mapping[str, str] = {}) -> int:
    """How many convolutions and matrix products of a float16 stage are float32.

    In a tower those before the endpoint where it begins; in the head each attention's energies and four products of
    each classifier's super-events.
    """
    if name == NETWORK:
        return sum(float32_operators(part, network, begins) for part in STAGES_OF[network.config.streams])
    if name == "head":
        attentions = sum(isinstance(module, Attention) for module in network.fusion.modules())
        return attentions + 4 * sum(isinstance(m, SuperEvent) for m in network.classifier.modules())
    before = ENDPOINTS[: ENDPOINTS.index(begins.get(name, ENDPOINTS[0]))]
    convolutions = dict.fromkeys(POOLS, 0) | {e: 6 for e in ENDPOINTS if e.startswith("Mixed")}
    config = network.config
    if name == "flow_tower" and config.flow_stride > 1:
        convolutions["Conv3d_1a_7x7"] = len(spans(config.flow_size, config.flow_stride)) ** 2
    return sum(convolutions.get(endpoint, 1) for endpoint in before)

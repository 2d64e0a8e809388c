"""Stages with one of export's rewrites left out, to measure what each gives. They compute the same as the others.

Each function gives the stage as it would be without that one rewrite, in float32 or `dtype`; the others stay.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.exporting.folded import FoldedTower, FoldedUnit
from infdet_deploy.exporting.stages import FenStage, InfraredTowerStage
from infdet_deploy.exporting.stem import GREY, FlatStem
from infdet_deploy.exporting.temporal import WHOLE_CLIP, TemporalContext
from infdet_deploy.model.enlargement import AFTER, BEFORE, STRIDE
from infdet_deploy.model.fen import neighbour_pairs
from infdet_deploy.model.i3d import ENDPOINTS, I3D, Mixed, Unit3d
from infdet_deploy.model.network import InfDetNet, enlarge_flow, to_grey


class VolumeStem(nn.Module):
    """As `FlatStem`, as the 3D convolution that it is."""

    def __init__(self, flat: FlatStem, weight: Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.outside = nn.Parameter(weight), flat.bias, flat.outside

    def forward(self, x: Tensor, context: TemporalContext = WHOLE_CLIP) -> Tensor:
        x = F.pad(x.transpose(0, 1)[None], (BEFORE, AFTER) * 3, value=self.outside)
        return F.relu(F.conv3d(x, self.weight, self.bias, stride=STRIDE))[0].transpose(0, 1)


class UnfoldedUnit(nn.Module):
    """Convolution, then BatchNorm as a scale and an offset of its own, ReLU."""

    def __init__(self, unit: Unit3d) -> None:
        super().__init__()
        folded, bn = FoldedUnit(unit), unit.bn
        assert bn.running_var is not None
        self.weight = unit.conv3d.weight
        self.scale = nn.Parameter((bn.weight / torch.sqrt(bn.running_var + bn.eps))[:, None, None, None])
        self.offset = nn.Parameter(folded.bias[:, None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv3d(x, self.weight, padding=self.weight.shape[2] // 2) * self.scale + self.offset)


class Before(nn.Module):
    """A stage's input, prepared, then its tower."""

    def __init__(self, prepare: Callable[[Tensor], Tensor], tower: nn.Module) -> None:
        super().__init__()
        self.prepare, self.tower = prepare, tower

    def forward(self, x: Tensor) -> Tensor:
        return self.tower(self.prepare(x))


def _levels(frames: Tensor) -> Tensor:
    return frames.float()[:, None]


def _infrared(network: InfDetNet) -> I3D:
    assert network.infrared_tower is not None
    return network.infrared_tower


def _without_batchnorm_folded(network: InfDetNet, dtype: torch.dtype) -> nn.Module:
    source = _infrared(network)
    stage = InfraredTowerStage(source, dtype)
    for name, child in source.named_children():
        if isinstance(child, Mixed):
            mixed = getattr(stage.tower, name)
            for part, unit in child.named_children():
                setattr(mixed, part, UnfoldedUnit(unit).to(dtype))  # type: ignore[arg-type]
        elif name == "Conv3d_2c_3x3":
            stage.tower.Conv3d_2c_3x3 = UnfoldedUnit(child).to(dtype)  # type: ignore[arg-type]
    return stage


def _without_one_channel(network: InfDetNet, dtype: torch.dtype) -> nn.Module:
    unit = FoldedUnit(_infrared(network).Conv3d_1a_7x7)
    stem = FlatStem.of_bytes(unit.weight, unit.bias)
    return Before(lambda frames: torch.cat([_levels(frames)] * 3, dim=1), _tower(_infrared(network), stem, dtype))


def _without_bytes(network: InfDetNet, dtype: torch.dtype) -> nn.Module:
    unit = FoldedUnit(_infrared(network).Conv3d_1a_7x7, grey=True)
    return Before(
        lambda frames: to_grey(frames)[:, None], _tower(_infrared(network), FlatStem(unit.weight, unit.bias), dtype)
    )


def _without_frames_as_channels(network: InfDetNet, dtype: torch.dtype) -> nn.Module:
    unit = FoldedUnit(_infrared(network).Conv3d_1a_7x7, grey=True)
    stem = VolumeStem(FlatStem.of_bytes(unit.weight, unit.bias), unit.weight / GREY)
    return Before(_levels, _tower(_infrared(network), stem, dtype))


def _without_enlargement_inside(network: InfDetNet, dtype: torch.dtype) -> nn.Module:
    source, stride = network.flow_tower, network.config.flow_stride
    assert source is not None
    unit = FoldedUnit(source.Conv3d_1a_7x7)
    return Before(lambda flow: enlarge_flow(flow, stride), _tower(source, FlatStem(unit.weight, unit.bias), dtype))


class _ThreeChannelFen(FenStage):
    """The FEN with scaled levels, three equal channels a frame and zeros around them."""

    def __init__(self, network: InfDetNet, dtype: torch.dtype) -> None:
        assert network.fen is not None
        super().__init__(network.fen, network.config.flow_stride, dtype)
        self.conv1 = nn.Conv2d(6, network.fen.conv1.out_channels, 7, stride=2, padding=3, bias=False)
        self.conv1.weight = nn.Parameter(network.fen.conv1.weight.to(dtype))

    def pairs(self, frames: Tensor) -> Tensor:
        first, second = neighbour_pairs(to_grey(frames).to(self.dtype), self.stride).split(1, dim=1)
        return torch.cat([first] * 3 + [second] * 3, dim=1)


def _tower(tower: I3D, stem: nn.Module, dtype: torch.dtype) -> nn.Module:
    return FoldedTower(tower, stem, dtype, ENDPOINTS[0])


@dataclass(frozen=True)
class Rewrite:
    """What is rewritten, in which stage, and the stage without it."""

    name: str
    stage: str
    undone: Callable[[InfDetNet, torch.dtype], nn.Module]


REWRITES = (
    Rewrite("BatchNorm folded into convolutions", "infrared_tower", _without_batchnorm_folded),
    Rewrite("one grey channel instead of three", "infrared_tower", _without_one_channel),
    Rewrite("scaling of bytes in the first weights", "infrared_tower", _without_bytes),
    Rewrite("frames as channels in the first layer", "infrared_tower", _without_frames_as_channels),
    Rewrite("enlargement inside the first layer", "flow_tower", _without_enlargement_inside),
    Rewrite("one channel, scaled by the weights", "fen", _ThreeChannelFen),
)


def undone(rewrite: Rewrite, network: InfDetNet, dtype: torch.dtype) -> nn.Module:
    """The stage without one rewrite; the network is not changed. Raises ValueError where the network has no such
    stage."""
    if getattr(network, rewrite.stage) is None:
        raise ValueError(f"the network has no {rewrite.stage}")
    with torch.no_grad():
        return rewrite.undone(network, dtype).eval().requires_grad_(False)

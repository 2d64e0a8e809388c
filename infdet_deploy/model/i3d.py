"""I3D, Inception-v1 inflated to 3D, as a feature extractor (Carreira and Zisserman 2017; paper III-A)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.presets import ModelConfig

# Kernel and stride of the max-pools between the blocks, (time, height, width).
POOLS = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
# Output channels of a block's convolutions b0, b1a, b1b, b2a, b2b, b3b at the published width.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# The endpoints in the order of the data flow.
ENDPOINTS = (
    "Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3", "Mixed_3b", "Mixed_3c",
    "MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "MaxPool3d_5a_2x2", "Mixed_5b",
    "Mixed_5c",
)  # fmt: skip
STEM = ENDPOINTS[0]


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one dimension: zeros before and after."""
    rest = length % stride
    total = max(kernel - (rest or stride), 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zero-pad the last three dimensions of x as SAME padding does."""
    pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[-3:], kernel, stride, strict=True)]
    return F.pad(x, [n for pad in reversed(pads) for n in pad]) if any(map(any, pads)) else x


def max_pool_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max-pool with SAME padding; the padding value 0 takes part in the maximum."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


class Unit3d(nn.Module):
    """Convolution without bias, BatchNorm (eps 1e-3), ReLU; SAME padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv3d.weight
        if x.shape[1] == 1 and weight.shape[1] == 3:  # one grey channel replaces its three copies
            weight = weight.sum(1, keepdim=True)
        x = pad_same(x, weight.shape[2:], self.conv3d.stride)
        return F.relu(self.bn(F.conv3d(x, weight, stride=self.conv3d.stride)))


class Mixed(nn.Module):
    """Inception block: four branches, concatenated along the channels."""

    pool = staticmethod(max_pool_same)

    def __init__(self, inputs: int, outputs: tuple[int, ...]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = outputs
        self.b0 = Unit3d(inputs, b0)
        self.b1a, self.b1b = Unit3d(inputs, b1a), Unit3d(b1a, b1b, 3)
        self.b2a, self.b2b = Unit3d(inputs, b2a), Unit3d(b2a, b2b, 3)
        self.b3b = Unit3d(inputs, b3b)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat((self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)), dim=1)


class I3D(nn.Module):
    """A clip → one feature for every 8 frames. Submodules have the published endpoints' names."""

    pool = staticmethod(max_pool_same)

    def __init__(self, config: ModelConfig, inputs: int) -> None:
        super().__init__()
        c64, channels = config.channels(64), config.channels(192)
        self.Conv3d_1a_7x7 = Unit3d(inputs, c64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3d(c64, c64)
        self.Conv3d_2c_3x3 = Unit3d(c64, channels, 3)
        for name, published in MIXED.items():
            outputs = tuple(config.channels(n) for n in published)
            self.add_module(name, Mixed(channels, outputs))
            channels = outputs[0] + outputs[2] + outputs[4] + outputs[5]

    def forward(self, x: Tensor) -> Tensor:
        """x: float [B, channels, T, size, size] in (−1, 1), or [B, 1, …] grey for a 3-channel tower → [B, T', d]."""
        for name in ENDPOINTS:
            x = self.pool(x, *POOLS[name]) if name in POOLS else getattr(self, name)(x)
        return F.avg_pool3d(x, (2, *x.shape[-2:]), stride=1).flatten(2).transpose(1, 2)

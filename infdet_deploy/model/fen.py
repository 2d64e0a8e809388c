"""Flow Estimation Network: optical flow between neighbouring frames (paper III-A, Table I)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.presets import ModelConfig


def instance_norm(x: Tensor) -> Tensor:
    """Per picture and channel: zero mean, unit variance over space (biased, eps 1e-5); no learned scale."""
    return F.instance_norm(x, eps=1e-5)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: [N, inputs, h, w] → [N, outputs, h/stride, w/stride]."""

    norm = staticmethod(instance_norm)

    def __init__(self, inputs: int, outputs: int, stride: int = 1, projection: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if projection else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.projection is None else self.norm(self.projection(x))
        x = F.relu(self.norm(self.conv1(x)))
        return F.relu(self.norm(self.conv2(x)) + shortcut)


class FlowEstimationNetwork(nn.Module):
    """Frame pairs → flow in (−1, 1) at every pixel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c64, c128, c256 = (config.channels(n) for n in (64, 128, 256))
        self.conv1 = nn.Conv2d(6, c64, 7, stride=2, padding=3, bias=False)
        self.layer1 = ResidualBlock(c64, c128)
        self.layer2 = ResidualBlock(c128, c128, stride=2)
        self.layer3 = ResidualBlock(c128, c256)
        self.layer4 = ResidualBlock(c256, c256, projection=config.fen_projection)
        self.deconv4 = nn.ConvTranspose2d(c256, c128, 4, stride=2, padding=1)
        self.deconv3 = nn.ConvTranspose2d(c128, c64, 4, stride=2, padding=1)
        self.deconv2 = nn.ConvTranspose2d(c64, config.channels(32), 4, stride=2, padding=1)
        self.flow_pred = nn.Conv2d(config.channels(32), config.flow_channels, 1)

    def forward(self, pairs: Tensor) -> Tensor:
        """pairs: [N, 2, h, w] grey, or [N, 6, h, w] with each frame's grey channel copied three times; → [N, c, h, w].

        A kernel over three equal channels equals the sum of its slices over one channel, at a third of the work.
        """
        weight = self.conv1.weight
        if pairs.shape[1] == 2:
            weight = weight.unflatten(1, (2, 3)).sum(2)
        x = F.relu(instance_norm(F.conv2d(pairs, weight, stride=2, padding=3)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        for deconv in (self.deconv4, self.deconv3, self.deconv2):
            x = F.leaky_relu(instance_norm(deconv(x)), 0.1)
        return torch.tanh(self.flow_pred(x))


def neighbour_pairs(grey: Tensor, stride: int) -> Tensor:
    """Grey frames [T, H, W] → pairs [T−1, 2, h, w] of every `stride`-th pixel: frame t, then frame t+1."""
    small = grey[:, ::stride, ::stride]
    return torch.stack((small[:-1], small[1:]), dim=1)

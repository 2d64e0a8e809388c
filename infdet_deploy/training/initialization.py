"""The initial weights of a training without checkpoint."""

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network

_SIGMA = (1.0, 1.5, 1.5)  # of the Gaussian over a first kernel: frames, pixels, pixels


def fresh_network(model: ModelConfig, seed: int) -> InfDetNet:
    """A network with seeded random weights, and smooth first kernels in the infrared tower (`smooth_stem`).

    The flow tower needs none: its input is enlarged from every 4th pixel and smooth already.
    """
    network = random_network(model, seed)
    if network.infrared_tower is not None:
        smooth_stem(network.infrared_tower.Conv3d_1a_7x7.conv3d)
    return network


def smooth_stem(conv: nn.Conv3d) -> None:
    """Make random kernels [outputs, 3, 7, 7, 7] a better start for thermal video (docs/experiments.md).

    They become smooth over space and time, since white noise responds to sensor noise above all, and equal for the
    three copies of the grey channel. The first half sums to zero over time and so responds to change only. Each
    kernel gets the standard deviation that all weights had.
    """
    with torch.no_grad():
        weight = conv.weight
        deviation = weight.std()
        kernels = _blurred(weight.mean(dim=1, keepdim=True))
        change = kernels[: len(kernels) // 2]
        change -= change.mean(dim=2, keepdim=True)
        kernels *= deviation / kernels.flatten(1).std(dim=1).view(-1, 1, 1, 1, 1)
        weight.copy_(kernels.expand_as(weight))


def _blurred(kernels: Tensor) -> Tensor:
    """Kernels [N, 1, time, rows, columns] convolved with a Gaussian of their size, zero-padded."""
    shape = kernels.shape[2:]
    curves = [torch.from_numpy(cv2.getGaussianKernel(n, s, cv2.CV_32F)) for n, s in zip(shape, _SIGMA, strict=True)]
    gaussian = torch.einsum("ti,yi,xi->tyx", *curves)
    return F.conv3d(kernels, gaussian[None, None], padding="same")

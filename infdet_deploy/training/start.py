"""What training starts from where no weights are given."""

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network

_SIGMA = (1.0, 1.5, 1.5)  # of the first kernels' smoothing: frames, pixels, pixels


def fresh_network(model: ModelConfig, seed: int) -> InfDetNet:
    """A network with seeded random weights, the infrared tower's first kernels smooth (`smooth_stem`).

    The flow tower's stay as they are drawn: its input is enlarged from every 4th pixel and smooth itself.
    """
    network = random_network(model, seed)
    if network.infrared_tower is not None:
        smooth_stem(network.infrared_tower.Conv3d_1a_7x7.conv3d)
    return network


def smooth_stem(conv: nn.Conv3d) -> None:
    """Make random kernels [outputs, 3, 7, 7, 7] a better start for thermal video (docs/experiments.md).

    They become smooth over space and time, where white noise would answer to the sensor's noise above all; equal for
    the three copies of the grey channel; and those of the first half sum to zero over time, so that they see what
    changes and not what stands still. Each gets the deviation that all weights had.
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
    """Kernels [N, 1, time, rows, columns] under a Gaussian as large as they are, zeros around them."""
    shape = kernels.shape[2:]
    curves = [torch.from_numpy(cv2.getGaussianKernel(n, s, cv2.CV_32F)) for n, s in zip(shape, _SIGMA, strict=True)]
    gaussian = torch.einsum("ti,yi,xi->tyx", *curves)
    return F.conv3d(kernels, gaussian[None, None], padding="same")

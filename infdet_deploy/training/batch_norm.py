"""Batch-norm statistics for evaluation, measured on training batches."""

from math import ceil

import torch
from torch import nn

from infdet_deploy.model.network import InfDetNet
from infdet_deploy.training.precision import forward, precision
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.windows import Windows


def measure_norms(network: InfDetNet, windows: Windows, config: TrainConfig) -> None:
    """Replace the running statistics of all batch norms by their mean over `norm_windows` training windows.

    Whole batches are needed: single windows would leave the differences between clips, such as brightness, out of the
    variances. The network is in eval mode afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    momentum = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms if config.norm_windows else ():
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    with torch.inference_mode():
        for index in range(ceil(config.norm_windows / config.batch)):
            batch = windows.extra_batch(index)
            forward(network, batch.grey, batch.target, batch.length, precision(config))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    network.eval()

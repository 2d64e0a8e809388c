"""Batch-norm statistics for evaluation equal those of training."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from infdet_deploy.datasets.instances import Clip
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.training.dataset import PreparedClip
from infdet_deploy.training.distributed import World
from infdet_deploy.training.initialization import fresh_network
from infdet_deploy.training.mixed_precision import forward
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.validation import measure_norms
from infdet_deploy.training.windows import Windows

MODEL = ModelConfig(size=64, channel_divisor=8)
CONFIG = TrainConfig(batch=4, window_frames=128, norm_windows=4, precision="float32")


@pytest.fixture(scope="module")
def windows():
    """Windows of six clips that differ mostly in brightness, like recordings of different nights."""
    rng = np.random.default_rng(0)
    clips = []
    for level in (30, 60, 90, 120, 150, 180):
        frames = (level + 8 * rng.standard_normal((128, 64, 64))).clip(0, 255).astype(np.uint8)
        flow = rng.uniform(-0.2, 0.2, (127, 3, 16, 16)).astype(np.float16)
        name = f"level{level}"
        clips.append(PreparedClip(name, frames, flow, np.zeros((15, 3), np.float32), 16.0, Clip(name, 16.0, None, ())))
    return Windows(clips, MODEL, CONFIG)


def norms_of(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]


def logits_of(network, batch):
    with torch.inference_mode():
        return forward(network, batch.grey, batch.target, batch.length, torch.float32)[0]


def test_measured_statistics_give_the_logits_of_training(windows):
    network = fresh_network(MODEL, 3)
    measure_norms(network, windows, CONFIG)  # one batch
    evaluated = logits_of(network, windows.extra_batch(0))
    for norm in norms_of(network):
        norm.train()
    trained = logits_of(network, windows.extra_batch(0))
    # A batch norm divides by the variance over n values while training and keeps that over n - 1.
    assert float((evaluated - trained).abs().max()) < 0.1 * float(trained.std())


def test_statistics_include_differences_between_clips(windows):
    network = fresh_network(MODEL, 3)
    found = {}
    for batch in (1, 4):
        config = dataclasses.replace(CONFIG, batch=batch, window_frames=32, norm_windows=16)
        measure_norms(network, Windows(windows.clips, MODEL, config), config)
        found[batch] = network.infrared_tower.Conv3d_1a_7x7.bn.running_var.clone()
    standing = slice(4, None)  # kernels of the second half answer to brightness itself, the first half to change
    assert float((found[4] / found[1])[standing].median()) > 3
    assert {norm.momentum for norm in norms_of(network)} == {0.01}
    assert not network.training


def test_whole_batches_are_counted(windows):
    network = fresh_network(MODEL, 3)
    measure_norms(network, windows, dataclasses.replace(CONFIG, norm_windows=5))  # two batches of 4
    assert int(network.infrared_tower.Conv3d_1a_7x7.bn.num_batches_tracked) == 2


def test_more_batches(windows):
    one, same, other = windows.extra_batch(0), windows.extra_batch(0), windows.extra_batch(1)
    assert one.grey.shape == (4, 128, 64, 64)
    assert torch.equal(one.grey, same.grey)
    assert not torch.equal(one.grey, other.grey)
    assert not torch.equal(one.grey, windows.batch(0).grey)
    assert len(set(one.names)) == 4  # no clip twice while there are others
    shared = Windows(windows.clips, MODEL, CONFIG, World(1, 2))
    assert shared.batch(0).grey.shape[0] == 2
    assert torch.equal(shared.extra_batch(0).grey, one.grey)  # whole, whoever asks

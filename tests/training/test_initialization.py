"""The start of training where no weights are given."""

import torch

from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.training.initialization import fresh_network


def test_only_the_infrared_towers_first_kernels_differ_from_random_ones():
    started, random = (make(preset("tiny"), 3).state_dict() for make in (fresh_network, random_network))
    differing = [name for name in started if not torch.equal(started[name], random[name])]
    assert differing == ["infrared_tower.Conv3d_1a_7x7.conv3d.weight"]


def test_first_kernels_are_smooth_and_half_of_them_respond_to_change_only():
    started, random = (
        make(preset("tiny"), 0).infrared_tower.Conv3d_1a_7x7.conv3d.weight.detach()
        for make in (fresh_network, random_network)
    )
    assert torch.equal(started[:, 0], started[:, 1])
    assert torch.equal(started[:, 0], started[:, 2])
    still = started.sum(dim=2).abs()
    assert still[:8].max() < 1e-6
    assert still[8:].mean() > 0.01
    torch.testing.assert_close(started.flatten(1).std(dim=1), random.std().expand(16), rtol=0.01, atol=0)
    rough = [(w.diff(dim=-1).square().mean() / w.square().mean()).item() for w in (started, random)]
    assert rough[0] < 0.5
    assert rough[1] > 1.6  # white noise: 2 · 6/7

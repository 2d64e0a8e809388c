"""The layers used in training compared with the published ones."""

import copy
import dataclasses

import pytest
import torch

from infdet_deploy.model.i3d import POOLS, max_pool_same
from infdet_deploy.model.presets import preset
from infdet_deploy.training.initialization import fresh_network
from infdet_deploy.training.layers import FlowStem, GreyStem, max_pool_after_relu, prepare_for_training
from infdet_deploy.training.mixed_precision import forward
from infdet_deploy.training.options import TrainConfig

FRAMES = (16, 17, 44)


def networks(**variant):
    """The same small network as published and as trained, float64, its batch norms not trivial."""
    config = dataclasses.replace(preset("tiny"), channel_divisor=8, **variant)
    plain = fresh_network(config, 0).double()
    generator = torch.Generator().manual_seed(0)
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 2, generator=generator)
            torch.nn.init.normal_(module.bias, generator=generator)
    return plain, prepare_for_training(copy.deepcopy(plain), TrainConfig())


def relative(ours, reference):
    assert ours.shape == reference.shape
    return float((ours - reference).detach().norm() / reference.detach().norm())


def clip(frames, config):
    generator = torch.Generator().manual_seed(frames)
    grey = torch.rand(2, frames, config.size, config.size, generator=generator, dtype=torch.float64) * 2 - 1
    side = config.flow_size
    flow = torch.rand(2, frames - 1, config.flow_channels, side, side, generator=generator, dtype=torch.float64)
    return grey, flow * 2 - 1, torch.full((2,), frames // 8)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"flow_channels": 2, "flow_stride": 2},
        {"flow_stride": 1},
        {"flow": "tvl1"},
        {"streams": "flow", "flow": "tvl1", "fusion": "none"},
        {"streams": "infrared", "fusion": "none"},
    ],
    ids=lambda variant: "-".join(map(str, variant.values())) or "published",
)
def test_scores_and_gradients_equal_the_published_layers(variant, training):
    plain, trained = networks(**variant)
    for frames in FRAMES:
        grey, flow, length = clip(frames, plain.config)
        found = []
        for network in (plain, trained):
            torch.manual_seed(0)  # dropout
            network.train(training).zero_grad()
            logits, moved = forward(network, grey, flow, length, torch.float32)
            (logits.square().sum() + (0 if moved is None else moved.square().sum())).backward()
            found.append((logits, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}))
        (expected, gradients), (ours, our_gradients) = found
        assert relative(ours, expected) <= 1e-10
        assert our_gradients.keys() == gradients.keys()
        together = [torch.cat([g.flatten() for g in part.values()]) for part in (our_gradients, gradients)]
        assert relative(*together) <= 1e-9
        for name in gradients:
            if "Conv3d_1a" in name:
                assert relative(our_gradients[name], gradients[name]) <= 1e-9, name


@pytest.mark.parametrize("kernel_and_stride", [*POOLS.values(), ((3, 3, 3), (1, 1, 1))])
def test_pools_of_every_length(kernel_and_stride):
    for frames in range(1, 10):
        for side in range(1, 10):
            x = torch.rand(1, 2, frames, side, side + 1).sub(0.5).relu()
            assert torch.equal(max_pool_after_relu(x, *kernel_and_stride), max_pool_same(x, *kernel_and_stride))


def test_weights_keep_their_names_and_values():
    plain, trained = networks()
    assert isinstance(trained.infrared_tower.Conv3d_1a_7x7, GreyStem)
    assert isinstance(trained.flow_tower.Conv3d_1a_7x7, FlowStem)
    expected = plain.state_dict()
    assert list(trained.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in trained.state_dict().items())


def test_copies_share_no_weights():
    _, trained = networks()
    copied = copy.deepcopy(trained)
    grey, flow, length = clip(16, trained.config)
    with torch.no_grad():
        trained.flow_tower.Conv3d_1a_7x7.conv3d.weight.zero_()
        before, _ = forward(copied.eval(), grey, flow, length, torch.float32)
        copied.flow_tower.Conv3d_1a_7x7.conv3d.weight.zero_()
        after, _ = forward(copied, grey, flow, length, torch.float32)
    assert not torch.equal(after, before)


def test_bfloat16_is_as_accurate_as_the_published_layers():
    plain, trained = (network.float() for network in networks())
    grey, flow, length = clip(16, plain.config)
    grey, flow = grey.float(), flow.float()
    with torch.no_grad():
        exact, _ = forward(plain.eval(), grey, flow, length, torch.float32)
        errors = [relative(forward(n.eval(), grey, flow, length, torch.bfloat16)[0], exact) for n in (plain, trained)]
    assert errors[1] <= 2 * errors[0]
    assert errors[0] < 0.1

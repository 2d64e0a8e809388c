"""Chunked gradients compared with those of the whole graph, and their memory."""

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from infdet_deploy.model.network import append_zero_flow, to_grey
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.training.layers import prepare_for_training
from infdet_deploy.training.losses import Losses, losses
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.whole_clips import WholeClip, accumulate_gradients
from infdet_deploy.video.sample import sample_frames

TINY = dataclasses.replace(preset("tiny"), channel_divisor=8)


def clip_of(frames: int, size: int = 64, dtype: torch.dtype = torch.float32) -> WholeClip:
    """Frames like a recording's, flow and labels at random."""
    rng = np.random.default_rng(frames)
    grey = to_grey(torch.from_numpy(sample_frames(frames, size))).to(dtype)
    target = torch.from_numpy(rng.uniform(-1, 1, (frames - 1, 3, size // 4, size // 4))).to(dtype)
    labels = torch.from_numpy(rng.random((feature_length(frames), 3)) < 0.3).to(dtype)
    return WholeClip(lambda start, stop: grey[start:stop], target, labels, frames, valid_length(frames))


@pytest.fixture(scope="module")
def network():
    """Random weights, non-trivial batch norms and γ not 0, so that every path has a gradient."""
    found = random_network(TINY, seed=1)
    with torch.no_grad():
        found.fusion.gamma.fill_(0.5)
        for module in found.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_var.uniform_(0.05, 0.2)
                module.bias.uniform_(-0.1, 0.4)
    return found.eval()


def arranged(network):
    """A copy with the layers that training uses."""
    return prepare_for_training(copy.deepcopy(network), TrainConfig())


def gradients(network) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return found


# Gradients that are zero except for rounding: an instance norm removes the bias before it, a softmax the keys' bias.
SILENT = {"fusion.key.bias", *(f"fen.deconv{n}.bias" for n in (4, 3, 2))}


def whole_gradients(network, clip: WholeClip) -> tuple[Losses, dict[str, torch.Tensor]]:
    """Losses and gradients of the whole graph at once, in the network's own precision."""
    length = torch.tensor([clip.length])
    grey = clip.grey(0, clip.frames)[None]
    out = network(grey, length, None if network.fen is not None else append_zero_flow(clip.target[None]))
    flow = out.flow if network.fen is not None else None
    found = losses(out.logits, clip.labels[None], flow, clip.target[None], length)
    (0.5 * found.total.sum()).backward()
    return found, gradients(network)


def relative_error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> dict[str, float]:
    assert found.keys() == expected.keys()
    return {
        name: float((found[name] - gradient).norm() / gradient.norm().clamp_min(1e-12))
        for name, gradient in expected.items()
        if name not in SILENT
    }


def test_gradients_of_the_whole_graph(network):
    """Equal in float64; in float32 the chunks' error is no larger than the whole graph's.

    float32 allows no stricter test: with random weights, rounding decides some maxima and ReLUs, and gradients jump.
    """
    found = [errors_at(network, frames, snippets) for frames, snippets in ((140, 7), (172, 9))]
    ours, whole = (max(part) for part in zip(*found, strict=True))
    assert ours <= 2 * whole + 1e-4


def errors_at(network, frames: int, snippets: int) -> tuple[float, float]:
    """The largest errors of the chunks' and of the whole graph's float32 gradients; float64 is asserted."""
    double = copy.deepcopy(network).double()
    clip = clip_of(frames, dtype=torch.float64)
    expected_losses, expected = whole_gradients(double, clip)
    trained = arranged(double)
    found_losses = accumulate_gradients(trained, clip, snippets, scale=0.5)
    for one, other in zip(found_losses, expected_losses, strict=True):
        assert float(one.detach()) == pytest.approx(float(other.detach()), rel=1e-12)
    exact = relative_error(gradients(trained), expected)
    assert max(exact.values()) <= 1e-9, max(exact, key=lambda name: exact[name])
    assert sum(float(gradient.norm()) > 0 for gradient in expected.values()) > 0.95 * len(expected)

    clip = clip_of(frames)
    whole = relative_error(whole_gradients(network, clip)[1], expected)
    trained = arranged(network)
    accumulate_gradients(trained, clip, snippets, scale=0.5)
    ours = relative_error(gradients(trained), expected)
    worst = [max(errors.values()) for errors in (exact, ours, whole)]
    print(
        f"{frames} frames in chunks of {snippets}: float64 {worst[0]:.1e}; float32 {worst[1]:.1e}, whole {worst[2]:.1e}"
    )
    return worst[1], worst[2]


@pytest.mark.parametrize(
    "variant",
    [
        {"streams": "infrared", "fusion": "none"},
        {"streams": "flow", "fusion": "self"},
        {"flow": "tvl1", "fusion": "late"},
        {"fusion": "concat"},
    ],
    ids=lambda variant: "-".join(variant.values()),
)
def test_gradients_of_variants(variant):
    """Networks without one tower or without FEN, in float64: equal to the whole graph's."""
    double = random_network(dataclasses.replace(TINY, **variant), seed=1).double()
    clip = clip_of(140, dtype=torch.float64)
    expected_losses, expected = whole_gradients(double, clip)
    trained = arranged(double)
    found_losses = accumulate_gradients(trained, clip, 7, scale=0.5)
    for one, other in zip(found_losses, expected_losses, strict=True):
        assert float(one.detach()) == pytest.approx(float(other.detach()), rel=1e-12)
    assert max(relative_error(gradients(trained), expected).values()) <= 1e-9
    assert (float(expected_losses.flow) > 0) == double.config.has_fen


def test_frozen_towers_get_no_gradient(network):
    for tower in network.towers():
        tower.requires_grad_(False)
    try:
        accumulate_gradients(network, clip_of(160), 9)
        found = gradients(network)
    finally:
        network.requires_grad_(True)
    assert not [name for name in found if "tower" in name]
    assert float(found["fen.conv1.weight"].norm()) > 0


PEAK = """
import resource, sys
import torch
from tests.training.test_whole_clips import TINY, arranged, clip_of
from infdet_deploy.model.weights import random_network
from infdet_deploy.training.whole_clips import accumulate_gradients

accumulate_gradients(arranged(random_network(TINY)), clip_of(int(sys.argv[1])), 8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip():
    def peak_mb(frames: int) -> float:
        return float(subprocess.check_output([sys.executable, "-c", PEAK, str(frames)], text=True))

    short, long = peak_mb(200), peak_mb(1000)
    print(f"peak memory: {short:.0f} MB for 200 frames, {long:.0f} MB for 1,000")
    assert long <= 1.3 * short

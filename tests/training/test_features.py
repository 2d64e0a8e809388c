"""Features of a frozen tower: cached, and as good as computed."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from infdet_deploy.datasets import open_dataset
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network
from infdet_deploy.synthetic.dataset import synthesise
from infdet_deploy.training import features
from infdet_deploy.training.chunked import accumulate_gradients
from infdet_deploy.training.dataset import load_dataset
from infdet_deploy.training.features import are_fixed, compute_features, feature_file, infrared_features, tower_key
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.windows import Windows

MODEL = ModelConfig(size=64, channel_divisor=8)
FIXED = TrainConfig(
    batch=1, freeze_towers=True, chunk_snippets=4, mirror=False, jitter=0.0, shift=0.0, precision="float32"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "data"
    return open_dataset(synthesise(folder, clips=3, size=(64, 64), fps=8, clip_s=(10, 10), test_share=0))


def test_computed_once(data, monkeypatch):
    network = random_network(MODEL, seed=1)
    clips = load_dataset(data, "training", MODEL)
    first = infrared_features(data, clips, MODEL, network.infrared_tower)
    key = tower_key(network.infrared_tower)
    for clip, found in zip(clips, first, strict=True):
        assert found.shape == (9, 128)
        assert torch.equal(load_file(feature_file(data, clip.annotation, MODEL, key))["features"], found)
        assert torch.equal(found, compute_features(clip.frames, network.infrared_tower))
    calls = []
    monkeypatch.setattr(features, "compute_features", lambda *_: calls.append(1) or first[0])
    seen = []
    again = infrared_features(data, clips, MODEL, network.infrared_tower, lambda *done: seen.append(done))
    assert not calls
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    feature_file(data, clips[0].annotation, MODEL, key).write_bytes(b"cut short")
    infrared_features(data, clips, MODEL, network.infrared_tower)
    assert len(calls) == 1
    with torch.no_grad():
        network.infrared_tower.Mixed_5c.b0.bn.running_mean[0] += 1e-3
    infrared_features(data, clips, MODEL, network.infrared_tower)
    assert len(calls) == 4  # another tower, other files


def test_gradients_with_known_features_are_the_same(data):
    network = random_network(MODEL, seed=2)
    for tower in network.towers():
        tower.requires_grad_(False)
    clips = load_dataset(data, "training", MODEL)
    known = infrared_features(data, clips, MODEL, network.infrared_tower)
    found = []
    for infrared in ((), known):
        ((_, _, clip),) = Windows(clips, MODEL, FIXED, infrared=infrared).whole(0)
        assert (clip.infrared is not None) == bool(infrared)
        network.zero_grad(set_to_none=True)
        losses = accumulate_gradients(network, clip, 4)
        found.append((losses, {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}))
    (losses, plain), (others, cached) = found
    assert float(losses.total) == pytest.approx(float(others.total), rel=1e-6)
    assert plain.keys() == cached.keys()
    assert any(name.startswith("fen.") for name in cached)
    for name, gradient in plain.items():
        assert np.allclose(gradient.numpy(), cached[name].numpy(), rtol=1e-4, atol=1e-6), name


def test_when_features_are_fixed():
    assert are_fixed(MODEL, FIXED)
    for change in ({"mirror": True}, {"jitter": 0.1}, {"shift": 0.1}, {"chunk_snippets": 0}, {"freeze_towers": False}):
        assert not are_fixed(MODEL, dataclasses.replace(FIXED, **change))
    assert not are_fixed(dataclasses.replace(MODEL, streams="flow", fusion="none"), FIXED)

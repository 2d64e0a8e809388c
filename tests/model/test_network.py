"""The network's configuration, lengths and shapes, and properties that do not depend on its weights."""

import copy
import dataclasses

import pytest

torch = pytest.importorskip("torch")

from infdet_deploy.errors import ConfigError
from infdet_deploy.model.i3d import same_padding
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.model.presets import PRESETS, ModelConfig, preset, preset_like
from infdet_deploy.model.weights import random_network
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.video.sample import sample_frames


def grey(frames: int, seed: int = 0):
    return to_grey(torch.from_numpy(sample_frames(frames, 64, seed)))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sizes": 64}, "unknown key 'sizes'"),
        ({"size": "64"}, "'size' is '64', expected int"),
        ({"size": 64.0}, "'size' is 64.0, expected int"),
        ({"size": True}, "'size' is True, expected int"),
        ({"fen_projection": 1}, "'fen_projection' is 1, expected bool"),
        ({"classes": "drop"}, "'classes' is 'drop', expected a list"),
        ({"classes": [1]}, "'classes' is 1, expected str"),
        ({"classes": []}, "at least one"),
        ({"classes": ["a", "a"]}, "no name twice"),
        ({"size": 100}, "size is 100, expected a multiple of 32"),
        ({"flow_channels": 4}, "flow_channels is 4, expected 2 or 3"),
        ({"channel_divisor": 3}, "channel_divisor is 3"),
        ([], "got list, expected an object"),
        (None, "got NoneType"),
    ],
)
def test_configuration_refuses_by_name(values, named):
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_json(values)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "config", [*PRESETS.values(), ModelConfig(("a", "b"), flow_channels=2, size=96, channel_divisor=8)]
)
def test_configuration_survives_json(config):
    assert ModelConfig.from_json(config.to_json()) == config


def test_presets():
    paper, tiny = preset("infdet"), preset("tiny")
    assert (paper.size, paper.features, paper.flow_channels, paper.classes) == (224, 1024, 3, ("drop", "fight", "hug"))
    assert (tiny.size, tiny.features) == (64, 256)
    with pytest.raises(ConfigError, match="no preset 'huge'; presets are small, array, tiny, infdet"):
        preset("huge")


@pytest.mark.parametrize(
    ("frames", "features", "valid"),
    [(8, 0, 1), (9, 1, 1), (16, 1, 2), (17, 2, 2), (23, 2, 2), (24, 2, 3), (40, 4, 5), (44, 5, 5), (100, 12, 12)],
)
def test_lengths(frames, features, valid):
    assert feature_length(frames) == features
    assert valid_length(frames) == valid


@pytest.mark.parametrize("frames", [16, 17, 23, 40])
def test_shapes_and_batch(tiny_network, frames):
    clips = torch.stack([grey(frames, seed) for seed in (1, 2)])
    snippets = feature_length(frames)
    with torch.inference_mode():
        both = tiny_network(clips)
        alone = [tiny_network(clip[None]) for clip in clips]
    assert both.flow.shape == (2, frames, 3, 16, 16)
    assert both.infrared_features.shape == both.flow_features.shape == both.fused.shape == (2, snippets, 128)
    assert both.stream_weight.shape == (2,)
    assert both.attention.shape == (2, snippets, snippets)
    assert both.logits.shape == (2, snippets, 3)
    assert not both.flow[:, -1].any()
    assert both.flow[:, :-1].abs().amax() > 0
    assert torch.allclose(both.attention.sum(2), torch.ones(2, snippets), atol=1e-6)
    for name in both._fields:
        single = torch.cat([getattr(one, name) for one in alone])
        assert (getattr(both, name) - single).abs().max() <= 1e-5 * max(1, single.abs().max()), name


def test_length_default_is_the_valid_length(tiny_network):
    clip = grey(40)[None]
    with torch.inference_mode():
        default, given = (tiny_network(clip, length).logits for length in (None, torch.tensor([5])))
        features = torch.randn(1, 4, 128, generator=torch.Generator().manual_seed(2))
        five, four = (tiny_network.classifier(features, torch.tensor([length])) for length in (5, 4))
    assert torch.equal(default, given)
    assert (five - four).abs().max() > 1e-4


def test_twelve_classes_and_two_flow_channels():
    classes = tuple(f"action{i}" for i in range(12))
    network = random_network(dataclasses.replace(preset("tiny"), classes=classes, flow_channels=2))
    with torch.inference_mode():
        output = network(grey(24)[None])
    assert output.flow.shape == (1, 24, 2, 16, 16)
    assert output.logits.shape == (1, 2, 12)
    assert network.flow_tower.Conv3d_1a_7x7.conv3d.weight.shape[1] == 2


@pytest.mark.parametrize("shape", [(1, 15, 64, 64), (1, 16, 64, 32), (1, 16, 96, 96), (16, 64, 64)])
def test_wrong_shapes_are_refused(tiny_network, shape):
    with pytest.raises(ValueError, match="expected"):
        tiny_network(torch.zeros(shape))


def test_one_grey_channel_equals_three_copies(tiny_network: InfDetNet):
    network = copy.deepcopy(tiny_network).double()  # the algebra is exact, what float32 rounds is not looked at here
    pairs = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    clip = grey(16)[None, None].double()
    copies = clip.expand(-1, 3, -1, -1, -1)
    stem, tower = network.infrared_tower.Conv3d_1a_7x7, network.infrared_tower
    with torch.inference_mode():
        assert (network.fen(pairs) - network.fen(pairs.repeat_interleave(3, dim=1))).abs().max() < 1e-10
        assert (stem(clip) - stem(copies)).abs().max() < 1e-10
        assert (tower(clip) - tower(copies)).abs().max() < 1e-10
        single = tiny_network.infrared_tower.Conv3d_1a_7x7
        assert (single(clip.float()) - single(copies.float())).abs().max() < 1e-5


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 7])
def test_same_padding_against_a_search(kernel, stride):
    for length in range(1, 40):
        before, after = same_padding(length, kernel, stride)
        outputs = -(-length // stride)
        # the least padding with which `outputs` windows fit, the front half rounded down
        total = next(p for p in range(kernel + stride) if length + p >= (outputs - 1) * stride + kernel)
        assert (before, after) == (total // 2, total - total // 2), length


def test_a_network_is_like_the_preset_of_its_size_and_frames():
    assert [preset_like(config) for config in PRESETS.values()] == list(PRESETS)
    assert preset_like(dataclasses.replace(preset("array"), classes=("fall",), streams="both", fusion="sca")) == "array"
    assert preset_like(dataclasses.replace(preset("tiny"), size=96)) == ""

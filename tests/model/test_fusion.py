"""The fusions of the paper's Tables IV and V, and what a configuration may ask for."""

import dataclasses

import pytest
import torch

from infdet_deploy.errors import ConfigError
from infdet_deploy.model.fusion import SelfAttention, build_fusion
from infdet_deploy.model.network import append_zero_flow
from infdet_deploy.model.presets import ModelConfig, preset
from infdet_deploy.model.weights import random_network, with_config

TINY = dataclasses.replace(preset("tiny"), channel_divisor=8)


def streams(snippets: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, snippets, TINY.features, generator=generator) for _ in range(2))
    return first, second


def fusion_of(kind: str, streams: str = "both") -> torch.nn.Module:
    torch.manual_seed(1)
    return build_fusion(dataclasses.replace(TINY, fusion=kind, streams=streams)).eval()


def test_joined_features():
    infrared, flow = streams()
    assert torch.equal(fusion_of("min")(infrared, flow).fused, torch.minimum(infrared, flow))
    assert torch.equal(fusion_of("max")(infrared, flow).fused, torch.maximum(infrared, flow))
    for kind in ("concat", "late"):
        fused = fusion_of(kind)(infrared, flow).fused
        assert torch.equal(fused[..., : TINY.features], infrared)
        assert torch.equal(fused[..., TINY.features :], flow)
    assert torch.equal(fusion_of("none", "infrared")(infrared).fused, infrared)


def test_cross_attention_is_selection_with_all_weight_on_infrared():
    infrared, flow = streams()
    sca, cross = fusion_of("sca"), fusion_of("cross")
    with torch.no_grad():
        cross.gamma.fill_(0.5)
        sca.load_state_dict(cross.state_dict(), strict=False)
        sca.fc2.weight.zero_()
        sca.fc2.bias.fill_(40)  # its sigmoid is 1
        found, expected = sca(infrared, flow), cross(infrared, flow)
    assert (found.fused - expected.fused).abs().max() < 1e-6
    assert (found.attention.sum(dim=2) - 1).abs().max() < 1e-6
    assert found.stream_weight.tolist() == [1.0, 1.0]
    assert expected.stream_weight is None


def test_self_attention_of_two_streams_is_the_mean_of_each():
    infrared, flow = streams()
    both = fusion_of("self")
    assert isinstance(both, SelfAttention)
    parts = []
    with torch.no_grad():
        for one, attention in zip((infrared, flow), both.streams, strict=True):
            attention.gamma.fill_(0.3)
            x = one.transpose(1, 2)
            energy = torch.einsum("bct,bcs->bts", attention.query(x), attention.key(x))
            parts.append(0.3 * energy.softmax(2) @ attention.value(x).transpose(1, 2) + one)
        found = both(infrared, flow).fused
    assert (found - (parts[0] + parts[1]) / 2).abs().max() < 1e-6


def test_late_fusion_gives_the_mean_of_two_scores():
    network = random_network(dataclasses.replace(TINY, fusion="late"), seed=2)
    infrared, flow = streams()
    length = torch.tensor([9, 7])
    with torch.no_grad():
        logits = network.classifier(torch.cat((infrared, flow), dim=2), length)
        scores = [
            torch.sigmoid(one(part, length))
            for one, part in zip((network.classifier.infrared, network.classifier.flow), (infrared, flow), strict=True)
        ]
    assert (torch.sigmoid(logits) - (scores[0] + scores[1]) / 2).abs().max() < 1e-6


def test_missing_parts_are_none():
    infrared = random_network(dataclasses.replace(TINY, streams="infrared", fusion="none"))
    assert infrared.fen is None
    assert infrared.flow_tower is None
    assert len(infrared.towers()) == 1
    grey = torch.rand(1, 24, 64, 64) * 2 - 1
    out = infrared(grey)
    assert out.flow is None
    assert out.flow_features is None
    assert torch.equal(out.fused, out.infrared_features)

    given = random_network(dataclasses.replace(TINY, flow="tvl1"))
    assert given.fen is None
    flow = append_zero_flow(torch.rand(1, 23, 3, 16, 16))
    assert flow.shape == (1, 24, 3, 16, 16)
    assert float(flow[:, -1].abs().max()) == 0
    assert torch.equal(given(grey, flow=flow).flow, flow)
    with pytest.raises(ValueError, match="no FEN"):
        given(grey)


def test_weights_are_kept_in_a_variant():
    whole = random_network(TINY, seed=1)
    variant, random = with_config(whole, dataclasses.replace(TINY, fusion="concat"))
    assert random
    assert all(name.startswith("classifier.") for name in random)
    for name, tensor in variant.state_dict().items():
        if name not in random:
            assert torch.equal(tensor, whole.state_dict()[name])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fusion": "none"}, "two streams must be fused"),
        ({"streams": "infrared"}, "one stream has none or self"),
        ({"streams": "flow", "fusion": "late"}, "one stream has none or self"),
        ({"streams": "sound"}, "'infrared', 'flow', 'both'"),
        ({"flow": "farneback"}, "'fen', 'tvl1'"),
        ({"fusion": "sum"}, "expected one of"),
    ],
)
def test_invalid_configurations_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        ModelConfig.from_json(values)

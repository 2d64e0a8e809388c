"""Each rewrite of the exported stages gives what the stage without it gives, and the network."""

import pytest

torch = pytest.importorskip("torch")

from infdet_deploy.benchmarks.without_rewrites import REWRITES, undone
from infdet_deploy.exporting.reference import eager_tensors
from infdet_deploy.exporting.specs import stage_specs
from infdet_deploy.exporting.stages import build_stage


@pytest.fixture(scope="module")
def network():
    """Random weights whose batch norms do something."""
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network

    made, generator = random_network(preset("tiny"), seed=4), torch.Generator().manual_seed(5)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return made


@pytest.fixture(scope="module")
def tensors(network, tiny_clip):
    return eager_tensors(network, tiny_clip(24))


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: f"{rewrite.stage}: {rewrite.name}")
def test_each_alone_changes_nothing(network, tensors, rewrite):
    spec, held = stage_specs(network)[rewrite.stage], tensors[rewrite.stage]
    x, expected = (torch.from_numpy(held[end[0].name]) for end in (spec.inputs, spec.outputs))
    without, with_it = undone(rewrite, network, torch.float32)(x), build_stage(rewrite.stage, network, torch.float32)(x)
    for found, other in ((without, expected), (with_it, expected), (without, with_it)):
        assert found.shape == other.shape
        assert float((found - other).norm() / other.norm()) <= 1e-5


def test_a_network_without_the_stage():
    from infdet_deploy.config import from_dict
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network

    config = preset("tiny")
    alone = random_network(
        from_dict(type(config), {**config.to_json(), "streams": "infrared", "fusion": "none"}, "model")
    )
    with pytest.raises(ValueError, match="no flow_tower"):
        undone(next(r for r in REWRITES if r.stage == "flow_tower"), alone, torch.float32)

"""Every stage against outputs of the original implementation."""

import json

import numpy as np
import pytest
import torch

from infdet_deploy.model.foreign_weights import import_upstream
from tests.paths import DATA
from tests.reference import reference_clip, reference_features, reference_tensor


def upstream_state_dict() -> dict[str, torch.Tensor]:
    shapes = json.loads((DATA / "upstream_state_dict.json").read_text())
    return {name: torch.from_numpy(np.asarray(reference_tensor(name, tuple(s)))) for name, s in shapes.items()}


@pytest.fixture(scope="module")
def network():
    return import_upstream(upstream_state_dict())[0]


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "golden_model.npz")


def assert_close(ours: torch.Tensor, golden: np.ndarray, name: str) -> None:
    assert ours.shape == golden.shape, name
    error = np.abs(ours.numpy() - golden).max() / np.abs(golden).max()
    assert error < 1e-4, f"{name}: {error:.2e}"


@pytest.mark.parametrize(("seed", "frames"), [(11, 40), (12, 100)])
def test_whole_network_equals_the_original(network, golden, seed, frames):
    with torch.inference_mode():
        output = network(torch.from_numpy(reference_clip(seed, frames))[None])
    prefix = f"clip{seed}x{frames}/"
    kept = [0, 1, 2] if frames == 40 else [0, 50, 98, 99]
    assert_close(output.flow[0, kept], golden[prefix + "flow"], "flow")
    assert_close(output.stream_weight, golden[prefix + "stream_weight"], "stream_weight")
    for name in ("infrared_features", "flow_features", "fused", "attention", "logits"):
        assert_close(getattr(output, name)[0], golden[prefix + name], name)


@pytest.mark.parametrize(("seed", "snippets"), [(21, 12), (22, 45)])
def test_head_equals_the_original(network, golden, seed, snippets):
    infrared, flow = (torch.from_numpy(reference_features(s, snippets)).T[None] for s in (seed, seed + 100))
    with torch.inference_mode():
        fused, attention, _ = network.fusion(infrared, flow)
        logits = network.classifier(fused, torch.tensor([snippets]))
    for name, ours in (("fused", fused), ("attention", attention), ("logits", logits)):
        assert_close(ours[0], golden[f"features{seed}x{snippets}/{name}"], name)


def test_unused_entries_are_named():
    _, report = import_upstream(upstream_state_dict())
    assert "cmam.bn1.weight" in report.unused
    assert "detector.super_event.delta" in report.unused
    assert "inf_feat_net.logits.conv3d.weight" in report.unused
    assert all(".delta" in n or ".logits." in n or "cmam.bn" in n for n in report.unused)

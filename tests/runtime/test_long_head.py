"""The head block by block computes the scores of the whole head, for every fusion and precision."""

import dataclasses
from contextlib import closing

import numpy as np
import pytest

from infdet_deploy.runtime import long_head
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.disk_array import DiskArray
from infdet_deploy.runtime.long_head import attend, long_scores
from infdet_deploy.snippets import valid_length

LONG = 83  # snippets


def write_head(folder, streams, fusion, precision):
    """A head with random weights whose attention and super-events count, and its inputs' names and width."""
    torch = pytest.importorskip("torch")
    from infdet_deploy.exporting.onnx import export_onnx
    from infdet_deploy.exporting.stages.build import build_stage
    from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
    from infdet_deploy.model.fusion import Attention
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network
    from infdet_deploy.video.sample import sample_frames

    config = dataclasses.replace(preset("tiny"), channel_divisor=8, streams=streams, fusion=fusion)
    network = random_network(config, seed=3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Attention):
                module.gamma.fill_(0.7)
    spec = stage_specs(network)["head"]
    tensors = eager_tensors(network, sample_frames(32, 64))["head"]
    example = tuple(torch.from_numpy(tensors[tensor.name]) for tensor in spec.inputs)
    path = folder / "head.onnx"
    export_onnx("head", build_stage("head", network, getattr(torch, precision)), spec, example, path)
    return path, tuple(tensor.name for tensor in spec.inputs), config.features


def some_features(names, width, snippets=LONG):
    """Features of the magnitude of a tower's."""
    rng = np.random.default_rng(1)
    drift = np.linspace(0, 1, snippets, dtype=np.float32)[:, None]  # no two places alike
    return {name: (rng.random((snippets, width), np.float32) ** 2 * 3 + drift) for name in names if name != "length"}


@pytest.mark.parametrize(
    ("streams", "fusion", "precision", "blocks", "allowed"),
    [
        ("both", "sca", "float32", (16, 37, 512), 1e-6),
        ("both", "late", "float32", (37,), 1e-6),
        ("infrared", "self", "float32", (37,), 1e-6),
        ("flow", "none", "float32", (37,), 1e-6),
        ("both", "sca", "bfloat16", (37,), 1e-2),
    ],
)
def test_scores_are_those_of_the_whole_head(tmp_path, monkeypatch, streams, fusion, precision, blocks, allowed):
    path, inputs, width = write_head(tmp_path, streams, fusion, precision)
    features = some_features(inputs, width)
    frames = 8 * (LONG + 1)
    head = open_stage("openvino", path, precision, inputs, ("scores",))
    whole = head.run({**features, "length": np.array([valid_length(frames)], np.int64)})["scores"]
    assert whole.std(axis=0).min() > 1e-3
    kept = {}
    for name, values in features.items():
        kept[name] = DiskArray()
        kept[name].append(values)
    for block in blocks:
        monkeypatch.setattr(long_head, "BLOCK", block)
        ours = long_scores(path, kept, valid_length(frames))
        assert ours.dtype == np.float32
        assert ours.shape == whole.shape == (LONG, 3)
        assert np.abs(ours - whole).max() <= allowed, block


def test_softmax_is_exact_however_large_the_energies(monkeypatch):
    rng = np.random.default_rng(2)
    query, key = (rng.normal(0, 6, (50, 8)).astype(np.float32) for _ in range(2))
    value = rng.normal(0, 1, (50, 24)).astype(np.float32)
    energy = query.astype(np.float64) @ key.astype(np.float64).T
    assert energy.max() > 200  # exp overflows float32 from 89 on
    weight = np.exp(energy - energy.max(axis=1, keepdims=True))
    expected = weight / weight.sum(axis=1, keepdims=True) @ value
    for block in (1, 7, 50, 64):
        monkeypatch.setattr(long_head, "BLOCK", block)
        assert np.abs(attend(query, key, value) - expected).max() < 3e-5


def test_disk_array_returns_its_rows():
    rng = np.random.default_rng(3)
    values = rng.random((40, 6), np.float32)
    with closing(DiskArray()) as rows:
        for part in np.split(values, [1, 17, 17, 39]):
            rows.append(part)
        assert len(rows) == 40
        for part in (slice(None), slice(0, 1), slice(5, 33), slice(39, 99), slice(12, 12)):
            assert np.array_equal(rows[part], values[part])

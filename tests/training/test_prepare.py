"""Preparing a data set: an interrupted call continues, and other networks get other files."""

import dataclasses
import shutil

import pytest

from infdet_deploy.errors import TrainingError, UsageError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network, save_network
from infdet_deploy.synthetic.dataset import synthesise
from infdet_deploy.training.clip_cache import CACHE
from infdet_deploy.training.prepare import PrepareOptions, prepare_dataset

MODEL = ModelConfig(size=64, channel_divisor=8)


@pytest.fixture
def data(tmp_path):
    """Two clips, both for training, of 10 s at 8 frames/s."""
    return synthesise(tmp_path / "data", clips=2, size=(64, 64), fps=8, clip_s=(10, 10), test_share=0)


def test_prepare_continues_where_it_stopped(data):
    result = prepare_dataset(data, PrepareOptions(workers=1))
    files = sorted((data / CACHE).iterdir())
    assert (result.made, result.ready, result.size_bytes) == (2, 0, sum(file.stat().st_size for file in files))
    first, second = files
    second.unlink()
    before = first.stat().st_mtime_ns
    seen = []
    again = prepare_dataset(data, PrepareOptions(), lambda *progress: seen.append(progress))
    assert (again.made, again.ready) == (1, 1)
    assert again.to_dict() == {"data": str(data), "made": 1, "ready": 1, "size_bytes": result.size_bytes}
    assert seen == [(1, 2, "prepare"), (2, 2, "prepare")]
    assert first.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"flow_channels": 2}, {"size": 96}])
def test_weights_bring_their_size_and_their_features(data, tmp_path, change):
    prepare_dataset(data, PrepareOptions(workers=1))
    model = dataclasses.replace(MODEL, **change)
    save_network(tmp_path / "w.safetensors", random_network(model), model)
    result = prepare_dataset(data, PrepareOptions(weights=tmp_path / "w.safetensors", workers=1))
    assert (result.made, result.ready) == (2, 0)
    assert len(list((data / CACHE).glob("*-infrared-*.safetensors"))) == 2


def test_refusals(data, tmp_path):
    model = dataclasses.replace(MODEL, streams="flow", fusion="none")
    save_network(tmp_path / "flow.safetensors", random_network(model), model)
    with pytest.raises(UsageError, match="has no infrared tower"):
        prepare_dataset(data, PrepareOptions(weights=tmp_path / "flow.safetensors"))
    shutil.rmtree(data / "videos")
    with pytest.raises(TrainingError, match="no clip has frames"):
        prepare_dataset(data)

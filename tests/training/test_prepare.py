"""Preparing a data set: interrupted calls continue; other networks have other files."""

import dataclasses
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from infdet_deploy.errors import ConfigError, TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network, save_network
from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize
from infdet_deploy.training.clip_cache import CACHE
from infdet_deploy.training.dataset import load_dataset
from infdet_deploy.training.prepare import PrepareOptions, prepare_dataset

MODEL = ModelConfig(size=64, channel_divisor=8)


@pytest.fixture
def data(tmp_path):
    """Two clips, both for training, of 10 s at 8 frames/s."""
    return synthesize(
        tmp_path / "data", SynthesizeOptions(clips=2, size=(64, 64), fps=8, clip_s=(10, 10), test_share=0)
    )


def test_prepare_continues_where_it_stopped(data):
    result = prepare_dataset(data, PrepareOptions(preset="tiny", workers=1))
    files = sorted((data / CACHE).iterdir())
    assert (result.made, result.ready, result.size_bytes) == (2, 0, sum(file.stat().st_size for file in files))
    first, second = files
    second.unlink()
    before = first.stat().st_mtime_ns
    seen = []
    again = prepare_dataset(data, PrepareOptions(preset="tiny"), lambda *progress: seen.append(progress))
    assert (again.made, again.ready) == (1, 1)
    assert again.to_dict() == {"data": str(data), "made": 1, "ready": 1, "size_bytes": result.size_bytes}
    assert seen == [(1, 2), (2, 2)]
    assert first.stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"flow_channels": 2}, {"size": 96}])
def test_another_network_needs_other_files(data, tmp_path, change):
    prepare_dataset(data, PrepareOptions(preset="tiny", workers=1))
    model = dataclasses.replace(MODEL, **change)
    save_network(tmp_path / "w.safetensors", random_network(model), model)
    result = prepare_dataset(data, PrepareOptions(preset="tiny", weights=tmp_path / "w.safetensors", workers=1))
    assert (result.made, result.ready) == (2, 0)


def test_an_infrared_network_needs_no_flow(data):
    infrared = dataclasses.replace(MODEL, streams="infrared", fusion="none")
    result = prepare_dataset(data, PrepareOptions(preset="tiny", streams="infrared", workers=1))
    assert (result.made, result.ready) == (2, 0)
    for file in (data / CACHE).iterdir():
        assert sorted(load_file(file)) == ["frames", "times_s"]
    alone = load_dataset(data, "training", infrared)
    assert alone[0].flow.shape == (79, 0, 16, 16)
    both = load_dataset(data, "training", MODEL)  # now with flow, in other files
    assert len(list((data / CACHE).iterdir())) == 4
    assert both[0].flow.shape == (79, 3, 16, 16)
    assert np.array_equal(both[0].frames, alone[0].frames)
    for file in (data / CACHE).iterdir():
        if "flow" not in load_file(file):
            file.unlink()
    assert (
        prepare_dataset(data, PrepareOptions(preset="tiny", streams="infrared")).ready == 2
    )  # complete files serve as well


def test_no_clip_with_frames(data):
    shutil.rmtree(data / "videos")
    with pytest.raises(TrainingError, match="no clip has frames"):
        prepare_dataset(data)
    with pytest.raises(ConfigError, match="no preset 'huge'"):
        PrepareOptions(preset="huge")

"""Training in several processes gives the losses of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize
from infdet_deploy.training import loop
from infdet_deploy.training.distributed import SampleDropout, World, launched_world, make_distributed, seed_dropout
from infdet_deploy.training.options import TrainConfig

SCRIPT = Path(__file__).with_name("distributed_run.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed") / "data"
    return synthesize(folder, SynthesizeOptions(clips=6, size=(64, 64), fps=5, clip_s=(10, 10), test_share=0))


def run(processes: int, *arguments: str) -> list[list[float]]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(SCRIPT), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "steps", "allowed"), [("whole", 6, 1e-5), ("windows", 3, 1e-8)])
def test_two_processes_give_the_losses_of_one(data, tmp_path, mode, steps, allowed):
    one = run(1, str(data), str(tmp_path / "one"), mode)
    two = run(2, str(data), str(tmp_path / "two"), mode)
    assert len(one) == len(two) == steps
    apart = max(abs(a - b) for first, second in zip(one, two, strict=True) for a, b in zip(first, second, strict=True))
    print(f"{mode}: largest difference of a loss in {steps} steps {apart:.1e}")
    assert apart <= allowed


def test_a_batch_is_divided_among_processes(monkeypatch):
    assert [list(World(rank, 2).share(6)) for rank in (0, 1)] == [[0, 1, 2], [3, 4, 5]]
    assert World(0, 2).is_main
    assert not World(1, 2).is_main
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched_world() == World(3, 4)


def test_dropout_depends_on_the_sample_alone():
    network = nn.Sequential(nn.Dropout(0.7))
    make_distributed(network, World())
    assert isinstance(network[0], SampleDropout)
    x = torch.ones(4, 1000)
    seed_dropout(network, (11, 12, 13, 14))
    together = network(x)
    seed_dropout(network, (13, 14))
    assert torch.equal(network(x[2:]), together[2:])
    assert not torch.equal(together[0], together[1])
    assert float((together > 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(together.max()) == pytest.approx(1 / 0.3)
    assert torch.equal(network.eval()(x), x)


def test_a_batch_that_cannot_be_shared(data, tmp_path, monkeypatch):
    class Two:
        def __enter__(self):
            return World(0, 2)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(loop, "process_group", lambda device: Two())
    with pytest.raises(TrainingError, match="a batch of 3 cannot be shared by 2 processes"):
        loop.run_training(data, tmp_path / "run", ModelConfig(size=64, channel_divisor=8), TrainConfig(batch=3))
    assert not (tmp_path / "run").exists()

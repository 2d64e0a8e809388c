"""A training run killed many times, at any moment, ends with the same result."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize
from infdet_deploy.training import loop, run_folder
from infdet_deploy.training.options import TrainConfig

MODEL = ModelConfig(size=64, channel_divisor=8, streams="infrared", fusion="none")
CONFIG = TrainConfig(
    steps=4, batch=1, window_frames=16, validate_every=2, save_every=1, norm_windows=1, precision="float32", jitter=0.0
)
KILLS = 15


def serve(data: Path, requests: "multiprocessing.connection.Connection") -> None:
    """Fork a training for every folder received and send its process id; imports are shared."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    for out in iter(requests.recv, None):
        child = os.fork()
        if child == 0:
            try:
                loop.run_training(data, out, MODEL, CONFIG, resume=(out / run_folder.RUN).is_file())
            except TrainingError as error:
                (out / "failed").write_text(str(error))
            os._exit(0)
        requests.send(child)
        requests.send(os.waitpid(child, 0)[1])


def check(out: Path) -> int:
    """Check that every file of the run folder is readable; return the number of unfinished files."""
    assert not (out / "failed").exists(), (out / "failed").read_text()
    for path in out.glob("[!.]*.safetensors"):
        load_file(path)
    if (out / run_folder.RUN).is_file():
        json.loads((out / run_folder.RUN).read_text())
    return len(list(out.glob(".*")))


@pytest.mark.slow
def test_kills_change_nothing(tmp_path):
    data = synthesize(
        tmp_path / "data", SynthesizeOptions(clips=9, size=(64, 64), fps=8, clip_s=(10, 10), test_share=1 / 3)
    )
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(data, theirs))
    server.start()

    def start(out: Path) -> int:
        out.mkdir(exist_ok=True)
        ours.send(out)
        return ours.recv()

    straight, out = tmp_path / "straight", tmp_path / "killed"
    for folder in ("prepare", "straight"):  # the first prepares the clips, the second is timed
        begun = time.monotonic()
        start(tmp_path / folder)
        assert ours.recv() == 0
    whole_s = time.monotonic() - begun
    rng = random.Random(0)
    killed = inside = steps = 0
    while killed < KILLS:
        child = start(out)
        if not ours.poll(rng.uniform(0, 0.5 * whole_s)):
            with contextlib.suppress(ProcessLookupError):  # it may just have ended
                os.kill(child, signal.SIGKILL)
        died = ours.recv() == signal.SIGKILL
        killed += died
        left = check(out)
        assert left <= 1
        inside += left
        if not died:  # it finished before the kill: kill another one
            assert_same(straight, out)
            for path in out.iterdir():
                path.unlink()
        steps += 1
    while not (out / run_folder.RUN).is_file() or "result" not in json.loads((out / run_folder.RUN).read_text()):
        start(out)
        assert ours.recv() == 0
    ours.send(None)
    server.join()
    print(f"{killed} kills in {steps} starts, {inside} inside a save; a run takes {whole_s:.2f} s")
    assert check(out) == 0
    assert_same(straight, out)


def assert_same(straight: Path, out: Path) -> None:
    """Weights, state and history of two runs, to the bit."""
    for name in (run_folder.BEST, run_folder.LAST, run_folder.STATE):
        wanted, found = load_file(straight / name), load_file(out / name)
        assert wanted.keys() == found.keys()
        assert not [key for key in wanted if not torch.equal(wanted[key], found[key])], name
    assert (straight / run_folder.RUN).read_text() == (out / run_folder.RUN).read_text()

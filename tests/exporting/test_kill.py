"""An export killed at any moment leaves the old or the complete new bundle, and no temporary files for long."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.options import ExportOptions, Origin
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network

MODEL = ModelConfig(classes=("one",), size=32, channel_divisor=8, streams="infrared", fusion="none")
KILLS = 15


def serve(out: Path, requests: Connection) -> None:
    """Fork an export per `source` received; send its process id, when its last step begins, and its exit status."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    network = random_network(MODEL)

    def tell(done: int, steps: int, what: str) -> None:
        if done == steps:
            requests.send("last step")

    for source in iter(requests.recv, None):
        child = os.fork()
        if child == 0:
            options = ExportOptions(formats=("torchscript",), incremental=False)
            export_bundle(network, out, options, Origin(source=source), on_progress=tell)
            os._exit(0)
        requests.send(child)
        status = os.waitpid(child, 0)[1]
        requests.send(status)


@pytest.mark.slow
def test_kills_leave_the_old_bundle_or_the_new_one(tmp_path):
    out = tmp_path / "bundles" / "a.infdet"
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(out, theirs))
    server.start()

    def start(source: str) -> int:
        ours.send(source)
        return ours.recv()

    def whole(source: str) -> tuple[float, float]:
        """Seconds of an export until its last step, and of that one."""
        begun = time.monotonic()
        start(source)
        assert ours.recv() == "last step"
        middle = time.monotonic()
        assert ours.recv() == 0
        return middle - begun, time.monotonic() - middle

    whole("warm up")
    until_last_s, last_s = whole("0")
    rng = random.Random(0)
    current, killed, starts, outcomes = "0", 0, 0, {"old": 0, "new": 0}
    left = 0
    while killed < KILLS:
        starts += 1
        source = str(starts)
        child = start(source)
        # A third of them in the short last step, in which the manifest is written and the folder gets its name.
        if starts % 3:
            if not ours.poll(rng.uniform(0, until_last_s)):
                with contextlib.suppress(ProcessLookupError):  # it may just have ended
                    os.kill(child, signal.SIGKILL)
        else:
            assert ours.recv() == "last step"
            if not ours.poll(rng.uniform(0, last_s)):
                with contextlib.suppress(ProcessLookupError):  # it may just have ended
                    os.kill(child, signal.SIGKILL)
        answer = ours.recv()
        status = ours.recv() if answer == "last step" else answer
        found = load_bundle(out).manifest.source
        assert found in (current, source)
        if status == signal.SIGKILL:
            killed += 1
            outcomes["new" if found == source else "old"] += 1
        else:
            assert status == 0
            assert found == source
        current = found
        others = [path.name for path in out.parent.iterdir() if path != out]
        assert all(name.startswith(".a.infdet.unfinished-") for name in others)
        left = max(left, len(others))
    whole("end")
    ours.send(None)
    server.join()
    print(f"{killed} kills in {starts} starts: {outcomes}, up to {left} leftovers; {until_last_s:.2f} + {last_s:.2f} s")
    assert load_bundle(out).manifest.source == "end"
    assert left > 0
    assert [path.name for path in out.parent.iterdir()] == ["a.infdet"]

"""A bundle from elsewhere is run in a process whose time and memory are limited."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.errors import UsageError
from infdet_deploy.verification.trial_run import TrialBudget, trial_run
from tests.conftest import COMMAND

helper = pytest.importorskip("onnx.helper")
from tests.bundle.running_bundle import tower, write_running_bundle

SQUARE = [helper.make_node("Expand", ["one", "sizes"], ["square"])]


def constants(side):
    return {"one": np.ones((1, 1), np.float32), "sizes": np.array([side, side], np.int64), "all": np.int64([0, 1])}


def endless():
    """Sixty products of 3000×3000 matrices that no backend can fold: they depend on the frames."""
    nodes = [*SQUARE, helper.make_node("ReduceMax", ["bytes"], ["most"], keepdims=0)]
    nodes.append(helper.make_node("Mul", ["square", "most"], ["m0"]))
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(60)]
    nodes += [helper.make_node("ReduceMax", ["m60"], ["zero"], keepdims=0)]
    nodes += [helper.make_node("Min", ["bytes", "zero"], ["pixels"])]
    return tower(*nodes, constants={**constants(3000), "axes": np.int64([1, 2])})


def huge():
    """A tensor of 40 GB, made from one number."""
    nodes = [*SQUARE, helper.make_node("ReduceMax", ["bytes"], ["most"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["square", "most"], ["tensor"])]
    nodes += [helper.make_node("ReduceMax", ["tensor"], ["zero"], keepdims=0)]
    nodes += [helper.make_node("Min", ["bytes", "zero"], ["pixels"])]
    return tower(*nodes, constants=constants(100_000))


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """The children import this package."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def test_a_whole_bundle_passes(tmp_path):
    result = trial_run(write_running_bundle(tmp_path / "a.infdet"))
    assert result.failures == ()
    assert result.passed
    assert "openvino" in result.backends
    assert result.comparisons == 3 * len(result.backends)  # two stages and the whole clip
    assert 20 < result.peak_mb < 2000
    assert str(result).startswith(f"{result.comparisons} comparisons on openvino")


def test_other_outputs_fail(tmp_path):
    offset = tower(helper.make_node("Neg", ["bytes"], ["pixels"]))
    result = trial_run(write_running_bundle(tmp_path / "a.infdet", offset))
    assert not result.passed
    assert result.failures[0] == "openvino infrared_tower float32: relative L2 2 from the golden clip, allowed 0.0001"
    assert len(str(result).splitlines()) == 1


def test_a_long_computation_is_stopped(tmp_path):
    bundle = write_running_bundle(tmp_path / "a.infdet", endless())
    load_bundle(bundle)
    begun = time.monotonic()
    result = trial_run(bundle, TrialBudget(time_s=5))
    assert result.failures == ("it takes more than 5 s; allow more with --time-limit",)
    assert time.monotonic() - begun < 8


def test_a_huge_tensor_is_refused(tmp_path):
    begun = time.monotonic()
    result = trial_run(write_running_bundle(tmp_path / "a.infdet", huge()), TrialBudget(memory_gb=1))
    assert not result.passed
    assert len(str(result).splitlines()) == 1
    assert time.monotonic() - begun < 60


def test_a_crash_of_a_backend_is_one_line(tmp_path):
    """OpenVINO 2026.4 reads beyond the inputs of a convolution without weights; other versions may refuse it."""
    result = trial_run(
        write_running_bundle(tmp_path / "a.infdet", tower(helper.make_node("Conv", ["bytes"], ["pixels"])))
    )
    assert not result.passed
    assert len(str(result).splitlines()) == 1
    assert "crashed (SIG" in result.failures[0] or "refuses" in result.failures[0]


def test_the_child_ends_with_its_parent(tmp_path):
    bundle = write_running_bundle(tmp_path / "a.infdet", endless())
    code = f"from infdet_deploy.verification.trial_run import trial_run; trial_run({str(bundle)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    listing = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 60
    while not (found := listing.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # its first act is to ask for this
    parent.kill()
    parent.wait()
    while os.path.exists(f"/proc/{found[0]}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{found[0]}")


def test_command(tmp_path):
    bundle = write_running_bundle(tmp_path / "a.infdet")
    line = [*COMMAND, "check", str(bundle)]
    done = subprocess.run([*line, "--run", "--json"], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"], found["run"]["passed"], found["run"]["failures"]) == (0, True, True, [])
    done = subprocess.run([*line, "--run", "--time-limit", "0.1"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "; the trial run failed: it takes more than 0.1 s" in done.stdout
    done = subprocess.run([*line, "--time-limit", "5"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--time-limit and --memory-limit are for --run" in done.stderr


@pytest.mark.parametrize("values", [{"time_s": 0}, {"time_s": float("nan")}, {"memory_gb": -1}, {"memory_gb": 1e9}])
def test_budget(values):
    with pytest.raises(UsageError, match="the budget is"):
        TrialBudget(**values)

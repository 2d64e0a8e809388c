"""The `bench` command from outside: Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import COMMAND


def group(leader: int) -> set[int]:
    """The processes of a process group that have not ended."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(of) == leader and state != "Z":
            found.add(int(folder.name))
    return found


WITHOUT_PEAKS = """
from infdet_deploy.benchmarks import bench
from infdet_deploy.cli import main
bench.stage_work = lambda *_: None  # without counts no peaks are measured
main()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("start", "begun"), [(COMMAND, "peaks"), ((sys.executable, "-c", WITHOUT_PEAKS), "contenders")]
)
def test_ctrl_c_ends_all_processes_and_prints_one_line(tiny_bundle, tmp_path, start, begun):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    line = [*start, "bench", str(tiny_bundle), "--precision", "float32", "--runs", "100000", "--quiet"]
    bench = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests may run in the background, without it
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while len(group(bench.pid)) < 2 or (begun == "contenders" and not list(tmp_path.glob("**/clip.npy"))):
            assert bench.poll() is None, bench.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        os.killpg(bench.pid, signal.SIGINT)  # as a terminal does
        out, notes = bench.communicate(timeout=60)
        assert (bench.returncode, out, notes) == (130, "", "infdet-deploy: interrupted\n")
        while group(bench.pid) and time.monotonic() < end:  # Python's own tracker of resources ends a little later
            time.sleep(0.02)
        assert not group(bench.pid)
        assert not list(tmp_path.glob("**/bench-*"))
    finally:
        for left in group(bench.pid):
            os.kill(left, signal.SIGKILL)

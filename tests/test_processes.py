"""`in_processes`: all results, the first error, and no process that outlives its parent."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infdet_deploy.processes import in_processes
from tests.paths import ROOT


def test_every_job_once():
    assert dict(in_processes(math.gcd, [(12, 18), (7, 5), (9, 27)], workers=2)) == {0: 6, 1: 1, 2: 9}
    assert list(in_processes(math.gcd, [])) == []


def test_an_error_cancels_the_other_jobs():
    with pytest.raises(ValueError, match="nonnegative"):
        list(in_processes(math.isqrt, [(4,), (-1,), (9,)], workers=1))


PARENT = """
import sys, time
from infdet_deploy.processes import in_processes
from tests.test_processes import report_and_sleep

if __name__ == "__main__":
    list(in_processes(report_and_sleep, [(sys.argv[1],)] * 2, workers=2))
"""


def report_and_sleep(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(120)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_their_parent(tmp_path, number):
    (tmp_path / "parent.py").write_text(PARENT)
    pids = tmp_path / "pids"
    pids.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(pids)], env=environment)
    try:
        assert wait_for(lambda: len(list(pids.iterdir())) == 2)
    finally:
        parent.send_signal(number)
        parent.wait()
    assert wait_for(lambda: not any(Path("/proc", pid.name).exists() for pid in pids.iterdir()))


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()

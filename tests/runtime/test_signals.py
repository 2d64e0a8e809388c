"""Signals after networks were loaded and closed."""

import subprocess
import sys

SCRIPT = """
import signal
import sys

from infdet_deploy import Detector

first = Detector(sys.argv[1])
second = Detector(sys.argv[1])
first.close()
second.close()
received = []
signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
signal.raise_signal(signal.SIGINT)
print(received)
"""


def test_ctrl_c_after_networks_closed_in_the_order_they_were_opened(stream_bundle):
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(stream_bundle)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[2]\n"), done.stderr

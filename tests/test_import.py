"""`import infdet_deploy` is quick, because what takes long is imported where it is used."""

import json
import subprocess
import sys

HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "cv2", "av", "typer", "rich", "numpy"}
SCRIPT = """
import json, sys, time
start = time.perf_counter()
import infdet_deploy
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "modules": list(sys.modules)}))
"""


def test_nothing_heavy_is_imported():
    found = json.loads(subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True).stdout)
    print(f"import infdet_deploy: {1000 * found['seconds']:.1f} ms")
    assert not HEAVY & set(found["modules"])

"""ONNX Runtime on the CPU."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from infdet_deploy.system import cpu_count


class OnnxRuntimeStage:
    """A stage in an ONNX Runtime session."""

    def __init__(
        self, session: onnxruntime.InferenceSession, inputs: tuple[str, ...], outputs: tuple[str, ...], at_once: int
    ) -> None:
        self._session, self.at_once = session, at_once
        self.inputs, self.outputs = inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._session.run(list(self.outputs), {name: feeds[name] for name in self.inputs})
        return dict(zip(self.outputs, results, strict=True))

    def close(self) -> None:
        del self._session


def open_stage(
    path: Path, precision: str, inputs: tuple[str, ...], outputs: tuple[str, ...], performance: str = "latency"
) -> OnnxRuntimeStage:
    """performance: for `throughput` a call takes one CPU, and as many calls as there are CPUs may run at once."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Idle threads that spin would take the processor from the other stages' sessions and from everything beside us.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    at_once = 1
    if performance == "throughput":
        options.intra_op_num_threads, at_once = 1, cpu_count()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return OnnxRuntimeStage(session, inputs, outputs, at_once)

"""OpenVINO on the CPU."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino


class OpenVinoStage:
    """A stage compiled by OpenVINO. Float16 files hold float16 weights; the arithmetic on a CPU is float32."""

    def __init__(self, compiled: openvino.CompiledModel, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self._compiled = compiled
        self.inputs, self.outputs = inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._compiled({name: feeds[name] for name in self.inputs})
        return {name: results[name] for name in self.outputs}

    def close(self) -> None:
        del self._compiled


def open_stage(path: Path, precision: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> OpenVinoStage:
    # Left to itself OpenVINO computes in bfloat16 where the CPU has it; the precision asked for is the one computed in.
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", properties)
    return OpenVinoStage(compiled, inputs, outputs)

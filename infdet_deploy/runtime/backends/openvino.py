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

    def release_memory(self) -> None:
        """Give back the memory of the layers' outputs, which is kept between runs otherwise."""
        self._compiled.release_memory()

    def close(self) -> None:
        del self._compiled


def open_stage(
    path: Path,
    precision: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> OpenVinoStage:
    # Left to itself OpenVINO computes all of a graph in bfloat16 where the CPU has it. Each operator is to compute in
    # the type that the graph gives it: what is typed bfloat16 then does, what must stay float32 does too.
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    model = core.read_model(str(path))
    if shapes:
        # Without shape arithmetic before every node: a third of the time of small networks with short inputs.
        model.reshape({name: openvino.PartialShape(list(shape)) for name, shape in shapes.items()})
    compiled = core.compile_model(model, "CPU", properties)
    return OpenVinoStage(compiled, inputs, outputs)

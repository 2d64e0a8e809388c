"""Which layers of a stage bear 8 bits: the error of each alone, and as few as must be kept in float32."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.int8 import Plan, insert, open_session
from infdet_deploy.runtime.backends.registry import open_stage

Tensors = Mapping[str, np.ndarray]
# Which of the two files of an int8 stage, each by the backend that it is measured on, has unsigned activations.
# TensorRT takes signed ones only; OpenVINO is right and fast with unsigned ones after ReLUs, see docs/int8.md.
UNSIGNED = {"onnxruntime": False, "openvino": True}


def sensitivity(plan: Plan, tensors: Sequence[Tensors], output: str) -> dict[str, float]:
    """The largest relative L2 at a stage's output when one layer alone is int8, by layer, largest first.

    tensors: the stage's inputs and, under `output`, what it gives in float32.
    """
    errors = {layer: _worst(_session_run(insert(plan, {layer}), output), tensors, output) for layer in plan.layers}
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def _session_run(model: onnx.ModelProto, output: str) -> Callable[[Tensors], np.ndarray]:
    session = open_session(model)
    inputs = [value.name for value in model.graph.input]
    return lambda feed: session.run([output], {name: feed[name] for name in inputs})[0]


def _worst(run: Callable[[Tensors], np.ndarray], tensors: Sequence[Tensors], output: str) -> float:
    errors = [compare(run(feed), feed[output]).relative_l2 for feed in tensors]
    return float(np.max(errors))  # a NaN stays one


@dataclass
class Int8Stage:
    """A calibrated stage with what decides how much of it is int8.

    order: layers, most sensitive first. measured: inputs and float32 outputs that the error is measured on. kept: the
    layers that the files last written have in float32, by backend.
    """

    plan: Plan
    order: Sequence[str]
    measured: Sequence[Tensors]
    kept: dict[str, list[str]] = field(default_factory=dict)

    def write(self, backend: str, file: Path, allowed: float) -> float:
        """Write the stage for a backend with as few layers in float32 as keep its error within `allowed`.

        Halves the range of how many of `order` are kept, which takes that more of them never hurt. Returns the error:
        the largest relative L2, measured on the backend. Raises ParityError when no layer can be int8.
        """
        fewest, most, error = 0, len(self.order), float("nan")
        tried = 0
        while fewest < most:
            error = self.write_keeping(backend, file, self.order[:tried])
            if error <= allowed:
                most = tried
            else:
                fewest = tried + 1
            last, tried = tried, (fewest + most) // 2
        if most == len(self.order):
            raise ParityError(
                f"{self.plan.model.graph.name}: with any layer in int8 its error is above {allowed:.1e} on {backend}; "
                "nothing was written: export without --int8, or calibrate on more clips"
            )
        if last != most:
            error = self.write_keeping(backend, file, self.order[:most])
        return error

    def write_keeping(self, backend: str, file: Path, layers: Sequence[str]) -> float:
        """Write the stage for a backend with these layers in float32; returns the error, as `write` does."""
        kept = self.kept[backend] = list(layers)
        onnx.save(insert(self.plan, set(self.plan.layers) - set(kept), UNSIGNED[backend]), str(file))
        inputs = tuple(value.name for value in self.plan.model.graph.input)
        (output,) = (value.name for value in self.plan.model.graph.output)
        return error_of(backend, file, inputs, output, self.measured)


def error_of(backend: str, file: Path, inputs: tuple[str, ...], output: str, measured: Sequence[Tensors]) -> float:
    """The largest relative L2 at the output of an int8 file on a backend."""
    runner = open_stage(backend, file, "int8", inputs, (output,))
    error = _worst(lambda feed: runner.run(feed)[output], measured, output)
    runner.close()
    return error

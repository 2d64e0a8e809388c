"""An int8 stage with as few float32 layers as its error allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.checks import Tensors, stage_errors
from infdet_deploy.exporting.int8.quantization import CalibratedGraph, Int8File, open_session, quantize


def layer_errors(graph: CalibratedGraph, tensors: Sequence[Tensors], output: str) -> dict[str, float]:
    """The largest relative L2 at a stage's output when one layer alone is int8, by layer, largest first.

    tensors: the stage's inputs and its float32 `output`.
    """
    inputs = [value.name for value in graph.model.graph.input]
    errors = {}
    for layer in graph.layers:
        session = open_session(quantize(graph, keep={*graph.layers} - {layer}))
        outputs = [session.run([output], {name: feed[name] for name in inputs})[0] for feed in tensors]
        errors[layer] = _worst(compare(o, t[output]).relative_l2 for o, t in zip(outputs, tensors, strict=True))
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def error_on(backend: str, path: Path, inputs: tuple[str, ...], output: str, tensors: Sequence[Tensors]) -> float:
    """The largest relative L2 at the output of an int8 file on a backend."""
    return _worst(stage_errors(path, "int8", inputs, output, tensors, backend))


def _worst(errors: Iterable[float]) -> float:
    return float(np.max(list(errors)))  # a NaN stays one


@dataclass
class Int8Stage:
    """A calibrated stage.

    order: layers, most sensitive first. measured: inputs and float32 outputs that the error is measured on. kept: the
    float32 layers of the files written last, by format.
    """

    graph: CalibratedGraph
    order: Sequence[str]
    measured: Sequence[Tensors]
    kept: dict[str, list[str]] = field(default_factory=dict)

    def write(self, file: Int8File, folder: Path, allowed: float) -> float:
        """Write the file with the fewest layers in float32 that keep its error within `allowed`; return the error.

        A binary search over the number of float32 layers, which assumes that more of them never increase the error.
        Raises ParityError when no layer can be int8.
        """
        fewest, most, tried, error = 0, len(self.order), 0, float("nan")
        while fewest < most:
            error = self.write_keeping(file, folder, self.order[:tried])
            if error <= allowed:
                most = tried
            else:
                fewest = tried + 1
            last, tried = tried, (fewest + most) // 2
        if most == len(self.order):
            raise ParityError(
                f"{self.graph.model.graph.name}: with any layer in int8 its error is above {allowed:.1e} on "
                f"{file.backend}; nothing was written: export without int8, or calibrate on more clips"
            )
        return error if last == most else self.write_keeping(file, folder, self.order[:most])

    def write_keeping(self, file: Int8File, folder: Path, layers: Sequence[str]) -> float:
        """Write the file with these layers in float32; return its error on its backend."""
        path, graph = self.save(file, folder, layers), self.graph.model.graph
        (output,) = (value.name for value in graph.output)
        return error_on(file.backend, path, tuple(value.name for value in graph.input), output, self.measured)

    def save(self, file: Int8File, folder: Path, layers: Sequence[str] = ()) -> Path:
        """Write the file with these layers in float32."""
        self.kept[file.format] = list(layers)
        path = folder / file.name(self.graph.model.graph.name)
        onnx.save(quantize(self.graph, layers, file.unsigned), str(path))
        return path

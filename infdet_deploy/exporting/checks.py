"""Checks of every exported file: correct numbers on every installed backend, in the right precision."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from infdet_deploy.bundle.tolerances import compare, tolerance
from infdet_deploy.errors import ParityError
from infdet_deploy.runtime.backends.base import Backend
from infdet_deploy.runtime.backends.registry import available_backends, open_stage

Tensors = Mapping[str, npt.NDArray[np.generic]]  # by name

_FLOATS = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.FLOAT16: "float16",
}
_INTEGERS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
_HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def worst_error(stage: str, precision: str, format: str, errors: Callable[[str], Iterable[float]]) -> float:
    """The largest relative L2 between a stage and the network over the installed backends that read its file.

    errors: backend → an error per check clip. Raises ParityError when one is out of tolerance, or when no installed
    backend runs the file.
    """
    allowed, worst = tolerance(format, precision), 0.0

    def reads(backend: Backend) -> bool:
        known = backend.capabilities
        return known.format == format and not known.built_ahead and backend.supports(precision)

    backends = [backend.name for backend in available_backends() if reads(backend)]
    if not backends:
        raise ParityError(
            f"no backend here runs {precision} {format}, so {stage} cannot be checked; nothing was written"
        )
    for backend in backends:
        for error in errors(backend):
            if not error <= allowed:  # a NaN is not
                instead = f"; export without {precision}" if precision in ("float16", "bfloat16") else ""
                raise ParityError(
                    f"{stage} {precision} {format}: relative L2 {error:.2e} from the network on {backend}, "
                    f"allowed {allowed:.0e}; nothing was written{instead}"
                )
            worst = max(worst, error)
    return worst


def stage_errors(
    path: Path, precision: str, inputs: tuple[str, ...], output: str, clips: Iterable[Tensors], backend: str
) -> Iterator[float]:
    """The relative L2 of a stage's output on a backend for each clip (the stage's inputs and right output)."""
    runner = open_stage(backend, path, precision, inputs, (output,))
    for tensors in clips:
        yield compare(runner.run(tensors)[output], tensors[output]).relative_l2
    runner.close()


def count_precisions(path: Path) -> dict[str, int]:
    """The numbers of a graph's convolutions and matrix products, by the type they compute in.

    int8: both operands are dequantized 8-bit integers.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.value_info)}
    types |= {i.name: i.data_type for i in model.graph.initializer}
    dequantized = {n.output[0]: types.get(n.input[2]) for n in model.graph.node if n.op_type == "DequantizeLinear"}
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in _HEAVY:
            operands = node.input[:2]
            if all(dequantized.get(name) in _INTEGERS for name in operands):
                counts["int8"] += 1
            else:
                first, second = (_FLOATS.get(types.get(name, 0), "other") for name in operands)
                counts[first if first == second else "other"] += 1
    return dict(counts)


def check_precision(stage: str, path: Path, precision: str, kept: int = 0) -> dict[str, int]:
    """Return `count_precisions`; raise ParityError when a graph does not compute in `precision`.

    kept: number of convolutions and matrix products that may compute in another precision.
    """
    counts = count_precisions(path)
    others = sum(n for label, n in counts.items() if label != precision)
    if not counts.get(precision) or others > kept:
        raise ParityError(f"{stage}: the graph called {precision} computes in {counts}; refusing to write it")
    return counts


def operators_3d(path: Path) -> list[str]:
    """The nodes of a graph with an input or output of rank 5 or more, or of unknown rank."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in values if v.type.tensor_type.HasField("shape")}
    ranks |= {i.name: len(i.dims) for i in model.graph.initializer}
    # An empty name is an optional input left out.
    return [n.name for n in model.graph.node if any(ranks.get(t, 5) > 4 for t in (*n.input, *n.output) if t)]


def check_2d(stage: str, path: Path) -> None:
    """Raise ParityError for a graph with 3D operators."""
    nodes = operators_3d(path)
    if nodes:
        raise ParityError(
            f"{stage}: expected no 3D operator, but {len(nodes)} have tensors of rank 5 or unknown rank, the first is "
            f"{nodes[0]}; refusing to write it"
        )

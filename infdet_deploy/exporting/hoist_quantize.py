"""Quantize before values are moved: padding, cutting and joining then work on bytes, a quarter of the memory.

Moving and quantizing give the same bits in either order. A stage casts its frames, which are bytes, to float32, because
the level around the picture, 127.5, is no byte. In int8 it is rounded to 128, so where bytes are quantized in steps of
1, the cast and the quantization both go.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

# Operators that only move the values of their first input; of all inputs for Concat.
MOVING = ("Concat", "Slice", "Pad", "Unsqueeze", "Reshape", "Transpose", "Gather")
_PAD_VALUE = 2  # the input of Pad that fills


class _Moves(NamedTuple):
    """The operators that only move values before a QuantizeLinear. sources: the tensors whose values they move."""

    nodes: dict[str, NodeProto]
    sources: list[str]


def hoist_quantize(model: ModelProto) -> None:
    """Rewrite the graph in place wherever values are only moved and then quantized, with one step and zero point 0."""
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        step, zero = (constants.get(name) for name in (*quantize.input, "")[1:3])
        if step is None or zero is None or step.size != 1 or zero.size != 1 or zero.item() != 0:
            continue
        producer = {output: node for node in graph.node for output in node.output}
        moves = _moves_before(quantize, producer)
        small = _input_bytes(graph, moves, producer) if zero.dtype == np.uint8 and step.item() == 1 else {}
        if (moves.nodes or small) and _only_quantized(graph, quantize, moves, {*small}, producer):
            for node in moves.nodes.values():
                if node.op_type == "Pad" and len(node.input) > _PAD_VALUE and node.input[_PAD_VALUE]:
                    value = constants[node.input[_PAD_VALUE]]
                    node.input[_PAD_VALUE] = _quantized_constant(graph, quantize, value, step, zero.dtype)
            _rewrite(graph, quantize, moves, small)


def _moves_before(quantize: NodeProto, producer: dict[str, NodeProto]) -> _Moves:
    moves, todo = _Moves({}, []), [quantize.input[0]]
    while todo:
        tensor = todo.pop()
        node = producer.get(tensor)
        if node is None or node.op_type not in MOVING:
            if tensor not in moves.sources:
                moves.sources.append(tensor)
        elif node.name not in moves.nodes:
            moves.nodes[node.name] = node
            todo += node.input if node.op_type == "Concat" else node.input[:1]
    return moves


def _input_bytes(graph: GraphProto, moves: _Moves, producer: dict[str, NodeProto]) -> dict[str, str]:
    """The sources that are cast bytes of the graph's input → that input."""
    inputs = {v.name for v in graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8}
    casts = {source: producer[source] for source in moves.sources if source in producer}
    return {s: n.input[0] for s, n in casts.items() if n.op_type == "Cast" and n.input[0] in inputs}


def _only_quantized(
    graph: GraphProto, quantize: NodeProto, moves: _Moves, casts: set[str], producer: dict[str, NodeProto]
) -> bool:
    """Whether no other node reads the casts or the moved values, and these are not bytes already."""
    moved = casts.union(*(node.output for node in moves.nodes.values()))
    others = [node for node in graph.node if node.name not in moves.nodes and node.name != quantize.name]
    read_elsewhere = {value.name for value in graph.output}.union(*(node.input for node in others))
    dequantized = any(s in producer and producer[s].op_type == "DequantizeLinear" for s in moves.sources)
    return moved.isdisjoint(read_elsewhere) and not dequantized


def _rewrite(graph: GraphProto, quantize: NodeProto, moves: _Moves, small: dict[str, str]) -> None:
    """Move `quantize` before the moves. small: source → its bytes, for sources that need no quantization."""
    added = {
        source: helper.make_node(
            "QuantizeLinear",
            [source, *quantize.input[1:]],
            [f"{source}/{quantize.output[0]}"],
            f"{quantize.name}/{source}",
        )
        for source in moves.sources
        if source not in small
    }
    bytes_of = {**small, **{source: node.output[0] for source, node in added.items()}}
    result = bytes_of.get(quantize.input[0], quantize.input[0])
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.name == quantize.name or (node.op_type == "Cast" and node.output[0] in small):
            continue
        renamed = {quantize.output[0]: result}
        if node.name in moves.nodes:
            nodes += [added.pop(name) for name in dict.fromkeys(node.input) if name in added]
            renamed = bytes_of
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _quantized_constant(
    graph: GraphProto, quantize: NodeProto, value: npt.NDArray[np.generic], step: npt.NDArray[np.generic],
    kind: np.dtype[np.generic],
) -> str:  # fmt: skip
    """The name of a constant with the value quantized as `quantize` does: to the nearest integer, ties to even."""
    limits = np.iinfo(kind)  # type: ignore[type-var]
    small = np.clip(np.rint(value.astype(np.float32) / step.astype(np.float32)), limits.min, limits.max).astype(kind)
    name = f"{quantize.output[0]}/{small.item()}"
    if all(constant.name != name for constant in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(small, name))
    return name

"""What an int8 graph only moves before it quantises it, moved as bytes: padded, cut and joined after quantising.

Moving and quantising give the same bits in either order, and bytes are a quarter of the memory. Frames are bytes to
begin with: a stage casts them to float32, since in other precisions the level around the picture, 127.5, is no byte. In
int8 it is one after quantising, 128; so a graph that quantises its bytes in steps of 1 need not cast them at all.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

_JOINING = "Concat"
MOVING = (_JOINING, "Slice", "Pad", "Unsqueeze", "Reshape", "Transpose", "Gather")  # of their first input
_FILL = 2  # the input of Pad that holds the number outside


class _Before(NamedTuple):
    """What leads to a quantised tensor. moving: the nodes that only move values; sources: the tensors they move;
    bytes: of these, those that are a cast byte of the graph's input → that input."""

    moving: list[onnx.NodeProto]
    sources: list[str]
    bytes: dict[str, str]


def move_bytes(model: onnx.ModelProto) -> None:
    """Rewrite the graph in place, wherever values are only moved and then quantised, with one step and zero point 0."""
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for quantise in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        step, zero = (constants.get(name) for name in (*quantise.input, "")[1:3])
        if step is None or zero is None or step.size != 1 or zero.size != 1 or zero.item() != 0:
            continue
        exact = zero.dtype == np.uint8 and step.item() == 1
        before = _before(graph, quantise.input[0], quantise.name, exact)
        if before is None or not (before.moving or before.bytes):
            continue
        small, made = dict(before.bytes), {}
        for source in before.sources:
            if source not in small:
                small[source] = f"{source}/{quantise.output[0]}"
                made[source] = helper.make_node(
                    "QuantizeLinear", [source, *quantise.input[1:]], [small[source]], f"{quantise.name}/{source}"
                )
        for node in before.moving:
            if node.op_type == "Pad" and len(node.input) > _FILL and node.input[_FILL]:
                node.input[_FILL] = _fill(graph, quantise, constants[node.input[_FILL]], step, zero.dtype)
        _rewrite(graph, quantise, before, small, made)


def _rewrite(
    graph: onnx.GraphProto,
    quantise: onnx.NodeProto,
    before: _Before,
    small: Mapping[str, str],
    made: dict[str, onnx.NodeProto],
) -> None:
    """Take `quantise` and the casts out of the graph; the nodes on the way move `small`, source → its bytes, which
    `made` quantise."""
    moving = {node.name for node in before.moving}
    result = small.get(quantise.input[0], quantise.input[0])
    nodes = []
    for node in graph.node:
        if node.name == quantise.name or (node.op_type == "Cast" and node.output[0] in before.bytes):
            continue
        if node.name in moving:
            nodes += [made.pop(name) for name in dict.fromkeys(node.input) if name in made]
            renamed = small
        else:
            renamed = {quantise.output[0]: result}
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _before(graph: onnx.GraphProto, tensor: str, reader: str, exact: bool) -> _Before | None:
    """What leads to `tensor`, which the node `reader` quantises; None where another node reads a part of it on the way,
    or it comes out of a DequantizeLinear.

    exact: bytes stay what they are when they are quantised.
    """
    makers = {output: node for node in graph.node for output in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.name)
    given = {value.name for value in graph.output}
    are_bytes = {v.name for v in graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    moving: dict[str, onnx.NodeProto] = {}
    sources: list[str] = []
    cast: dict[str, str] = {}
    todo = [tensor]
    while todo:
        maker = makers.get(name := todo.pop())
        if maker is not None and maker.op_type in MOVING:
            if maker.name not in moving:
                todo += maker.input if maker.op_type == _JOINING else maker.input[:1]
                moving[maker.name] = maker
        elif maker is not None and maker.op_type == "DequantizeLinear":
            return None  # bytes already
        elif name not in sources:
            sources.append(name)
            if exact and maker is not None and maker.op_type == "Cast" and maker.input[0] in are_bytes:
                cast[name] = maker.input[0]
    inside = {*moving, reader}
    on_the_way = [*(name for node in moving.values() for name in node.output), *cast]
    if any(name in given or not inside.issuperset(readers[name]) for name in on_the_way):
        return None
    return _Before(list(moving.values()), sources, cast)


def _fill(graph: onnx.GraphProto, quantise: onnx.NodeProto, value: np.ndarray, step: np.ndarray, kind: np.dtype) -> str:
    """A constant that holds the value as `quantise` gives it: to the nearest integer, to the even one of two."""
    limits = np.iinfo(kind)
    small = np.clip(np.rint(value.astype(np.float32) / step), limits.min, limits.max).astype(kind)
    made = f"{quantise.output[0]}/{small.item()}"
    if all(one.name != made for one in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(small, made))
    return made

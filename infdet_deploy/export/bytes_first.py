"""The grey bytes of an int8 graph moved as bytes: padded, cut and joined before they become numbers, not after.

A stage casts its frames to float32 first, since in other precisions the level around the picture, 127.5, is no byte. In
int8 it is one after quantising, 128; so a graph that quantises its bytes in steps of 1 gives the same numbers, bit by
bit, when it moves a quarter of the memory.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

_JOINING = "Concat"
MOVING = (_JOINING, "Slice", "Pad", "Unsqueeze", "Reshape", "Transpose", "Gather")  # of their first input
_FILL = 2  # the input of Pad that holds the number outside


def move_bytes(model: onnx.ModelProto) -> None:
    """Rewrite the graph in place, wherever a uint8 input is cast, only moved, and then quantised in steps of 1."""
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for quantise in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        step, zero = (constants.get(name) for name in (*quantise.input, "")[1:3])
        if step is None or zero is None or zero.dtype != np.uint8 or step.item() != 1 or zero.item() != 0:
            continue
        moving = _moving(graph, quantise)
        if moving is None:
            continue
        renamed = {node.output[0]: node.input[0] for node in moving if node.op_type == "Cast"}
        renamed[quantise.output[0]] = renamed.get(quantise.input[0], quantise.input[0])
        for node in moving:
            if node.op_type == "Pad" and len(node.input) > _FILL and node.input[_FILL]:
                node.input[_FILL] = _byte(graph, constants, node.input[_FILL])
        gone = [quantise, *(node for node in moving if node.op_type == "Cast")]
        kept = [node for node in graph.node if node not in gone]
        for node in kept:
            for place, name in enumerate(node.input):
                node.input[place] = renamed.get(name, name)
        del graph.node[:]
        graph.node.extend(kept)


def _moving(graph: onnx.GraphProto, quantise: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """The nodes between the graph's bytes and the one that quantises them; None where they do anything else, or
    another node reads what they give."""
    makers = {output: node for node in graph.node for output in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.name)
    given = {value.name for value in graph.output}
    are_bytes = {v.name for v in graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    found: dict[str, onnx.NodeProto] = {}
    todo = [quantise.input[0]]
    while todo:
        node = makers.get(todo.pop())
        if node is None or node.op_type not in (*MOVING, "Cast"):
            return None
        if node.op_type == "Cast" and node.input[0] not in are_bytes:
            return None
        if node.name not in found and node.op_type != "Cast":
            todo += node.input if node.op_type == _JOINING else node.input[:1]
        found[node.name] = node
    inside = {*found, quantise.name}
    outputs = [name for node in found.values() for name in node.output]
    if any(name in given or not inside.issuperset(readers[name]) for name in outputs):
        return None
    return list(found.values())


def _byte(graph: onnx.GraphProto, constants: Mapping[str, np.ndarray], name: str) -> str:
    """The constant as QuantizeLinear gives it in steps of 1: to the nearest integer, to the even one of two."""
    made = f"{name}_byte"
    if all(one.name != made for one in graph.initializer):
        value = np.clip(np.rint(constants[name]), 0, 255).astype(np.uint8)
        graph.initializer.append(numpy_helper.from_array(value, made))
    return made

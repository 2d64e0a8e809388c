"""A float32 stage as int8 Q/DQ: symmetric, zero points 0, weights per channel, activations per tensor.

Quantised are convolutions; products are less than a hundredth of the work, and OpenVINO 2026 computes the Q/DQ form of
Gemm wrongly. Pools, concatenations and what else moves values between convolutions pass int8 through: what goes in and
what comes out has one scale, so that a backend need not leave int8 there. The state of towers as steps (`stream.py`) is
such a value.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from infdet_deploy.exporting.bytes_first import MOVING, move_bytes

LEVELS = 127  # symmetric int8: −127…127 times the scale
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}  # where a weight has its output channels
_JOINING = ("Concat", "Max")  # of all their inputs; those below pass on their first one, the others say how
# Mul is by 0 or 1: what lies outside of a clip, in towers as steps.
_PASSING = (*_JOINING, "MaxPool", "DepthToSpace", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Pad", "Mul")
_NEXT = "next."  # what the state that follows a step is called, before the state's name
# Operators that give a byte of the input as they took it, or a constant in its place.
_HANDING_ON = ("Cast", *MOVING)
# Too little work to be worth it, or too fine for 8 bits: attention energies, mixtures, the flow's last layer.
_FLOAT32 = re.compile(r"/(query|key|flow_pred)/|/classifiers/\d+/")


@dataclass(frozen=True)
class Plan:
    """A calibrated float32 graph, of which any part can be quantised.

    layers: names of the nodes that can be, in the graph's order. scales: the step of each tensor that feeds one or
    leads to one. positive: those of these tensors that were never below 0.
    """

    model: onnx.ModelProto
    layers: tuple[str, ...]
    scales: dict[str, float]
    positive: frozenset[str]


def quantise(
    float32: Path,
    out: Path,
    feeds: Iterable[Mapping[str, np.ndarray]],
    keep: Collection[str] = (),
    unsigned: bool = False,
) -> Plan:
    """Calibrate a stage's float32 ONNX file on feeds of its inputs, and write it as int8 Q/DQ.

    keep: names of nodes that stay float32. unsigned: see `insert`. Returns the plan.
    """
    calibrated = plan(onnx.load(str(float32)), feeds)
    onnx.save(insert(calibrated, set(calibrated.layers) - set(keep), unsigned), str(out))
    return calibrated


def plan(model: onnx.ModelProto, feeds: Iterable[Mapping[str, np.ndarray]]) -> Plan:
    """Find what can be quantised, and the largest magnitude of each tensor there over all feeds.

    No value seen is clipped: clipping the largest for the sake of the others costs a tower more than it gains.
    """
    layers = _layers(model)
    edges, makers = _edges(model, layers), _makers(model)
    groups = _groups(model, edges)
    lowest, highest = _ranges(model, [tensor for group in groups for tensor in group], feeds)
    scales: dict[str, float] = {}
    positive: set[str] = set()
    for group in groups:
        largest = max(max(-lowest[tensor], highest[tensor]) for tensor in group)
        if any(_are_bytes(model, makers, tensor) for tensor in group):
            largest = 255.0  # other recordings may be brighter, and every grey level is then exact
        scales |= dict.fromkeys(group, largest / LEVELS or 1.0)
        if all(lowest[tensor] >= 0 for tensor in group):
            positive |= set(group)
    return Plan(model, layers, scales, frozenset(positive))


def carry(calibrated: Plan, model: onnx.ModelProto) -> Plan:
    """A stage's plan for another graph of the same layers, as its tower in steps is: their scales, by their names."""
    inputs = {node.name: node.input[0] for node in calibrated.model.graph.node}
    stage, layers = calibrated.model.graph.name, _layers(model)
    twin = {layer: inputs[layer.replace(model.graph.name, stage, 1)] for layer in layers}
    edges = _edges(model, layers)
    scales: dict[str, float] = {}
    positive: set[str] = set()
    for group in _groups(model, edges):
        fed = [twin[name] for name, tensor in edges if name in twin and tensor in group]
        scales |= dict.fromkeys(group, max(calibrated.scales[tensor] for tensor in fed))
        if calibrated.positive.issuperset(fed):
            positive |= set(group)
    return Plan(model, layers, scales, frozenset(positive))


def _layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """The nodes that can be quantised."""
    constants = {i.name for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT}
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in _CHANNEL_AXIS and node.input[1] in constants and not _FLOAT32.search(node.name)
    )


def _makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


def _follows_relu(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether a tensor is a ReLU's output, perhaps through what passes int8 on, or joined with the state of one."""
    makers, todo = _makers(model), [tensor]
    states = {value.name.removeprefix(_NEXT) for value in model.graph.output if value.name.startswith(_NEXT)}
    while todo:
        node = makers.get(name := todo.pop())
        if node is None and name in states:
            continue
        if node is None or node.op_type not in ("Relu", *_PASSING):
            return False
        if node.op_type != "Relu":
            todo += _data(node)
    return True


def _data(node: onnx.NodeProto) -> list[str]:
    """The tensors that a passing node passes on; what else it takes says how."""
    return list(node.input) if node.op_type in _JOINING else list(node.input[:1])


def _are_bytes(model: onnx.ModelProto, makers: Mapping[str, onnx.NodeProto], tensor: str) -> bool:
    """Whether a tensor holds bytes of the graph's input, only rearranged."""
    while tensor in makers and makers[tensor].op_type in _HANDING_ON:
        tensor = makers[tensor].input[0]
    return any(v.name == tensor and v.type.tensor_type.elem_type == onnx.TensorProto.UINT8 for v in model.graph.input)


def _edges(model: onnx.ModelProto, chosen: Collection[str]) -> dict[tuple[str, str], onnx.NodeProto]:
    """(node's name, tensor) where int8 goes in → the node: chosen layers, what passes int8 on to one of them, and what
    keeps some of it as the next step's state."""
    makers = _makers(model)
    edges = {(node.name, node.input[0]): node for node in model.graph.node if node.name in chosen}
    todo = [tensor for _, tensor in edges]
    while todo:
        tensor = todo.pop()
        node = makers.get(tensor)
        if node is not None and node.op_type in _PASSING and _follows_relu(model, tensor):
            new = [name for name in _data(node) if (node.name, name) not in edges]
            edges |= {(node.name, name): node for name in new}
            todo += new
    known = {tensor for _, tensor in edges}
    states = [node for node in model.graph.node if node.output[0].startswith(_NEXT) and node.input[0] in known]
    return edges | {(node.name, node.input[0]): node for node in states}


def _groups(model: onnx.ModelProto, edges: Mapping[tuple[str, str], onnx.NodeProto]) -> list[list[str]]:
    """Tensors that share a scale, since a pool or concatenation lies between them."""
    leader = {tensor: tensor for _, tensor in edges}

    def find(tensor: str) -> str:
        while leader[tensor] != tensor:
            tensor = leader[tensor]
        return tensor

    for (_, tensor), node in edges.items():
        if node.op_type in _PASSING and node.output[0] in leader:
            leader[find(tensor)] = find(node.output[0])
    groups = defaultdict(list)
    for tensor in leader:
        groups[find(tensor)].append(tensor)
    return list(groups.values())


def _ranges(
    model: onnx.ModelProto, tensors: Collection[str], feeds: Iterable[Mapping[str, np.ndarray]]
) -> tuple[dict[str, float], dict[str, float]]:
    """The smallest and largest value of each tensor, 0 included. Memory: those tensors of one feed at a time."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inner = [name for name in tensors if name not in {value.name for value in model.graph.input}]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = open_session(watched)
    lowest, highest = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for feed in feeds:
        inputs = {name: feed[name] for name in (value.name for value in model.graph.input)}
        for name, values in (*zip(inner, session.run(inner, inputs), strict=True), *inputs.items()):
            if name in lowest:
                lowest[name] = min(lowest[name], float(values.min()))
                highest[name] = max(highest[name], float(values.max()))
    return lowest, highest


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The graph on ONNX Runtime's CPU backend."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def insert(calibrated: Plan, chosen: Collection[str], unsigned: bool = False) -> onnx.ModelProto:
    """The calibrated graph with the chosen layers computing in int8.

    unsigned: tensors that calibration never saw below 0 as uint8 with zero point 0 and half the step, as OpenVINO has
    it best; TensorRT takes signed ones only. What is only moved and then quantised is then moved as bytes
    (`bytes_first.py`).
    """
    model = onnx.ModelProto()
    model.CopyFrom(calibrated.model)
    graph = model.graph
    makers, edges = _makers(model), _edges(model, chosen)
    weights = {i.name: i for i in graph.initializer}
    after: dict[str, list[onnx.NodeProto]] = {}
    for tensor in {tensor: None for _, tensor in edges}:
        name = makers[tensor].name if tensor in makers else f"{graph.name}/{tensor}"
        kind, step = "int8", calibrated.scales[tensor]
        if unsigned and tensor in calibrated.positive:
            kind, step = "uint8", step * LEVELS / 255
        after[tensor] = _pair(graph, tensor, name, np.float32(step), kind)
    for (_, tensor), node in edges.items():
        for place in range(len(node.input) if node.op_type in _JOINING else 1):
            if node.input[place] == tensor:
                node.input[place] = f"{tensor}_dequantized"
    before: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.name in chosen:
            before[node.name] = [_weight(graph, node, numpy_helper.to_array(weights[node.input[1]]))]
            node.input[1] = before[node.name][0].output[0]
    nodes = [made for value in graph.input for made in after.get(value.name, [])]
    for node in graph.node:
        nodes += [*before.get(node.name, []), node, *(made for o in node.output for made in after.get(o, []))]
    used = {name for node in nodes for name in node.input}
    result = helper.make_graph(
        nodes, graph.name, graph.input, graph.output, [i for i in graph.initializer if i.name in used]
    )
    model.graph.CopyFrom(result)
    if unsigned:
        move_bytes(model)
    return model


def _pair(graph: onnx.GraphProto, tensor: str, name: str, step: np.float32, kind: str) -> list[onnx.NodeProto]:
    """Quantise and dequantise after the tensor, which the node `name` made."""
    scale, zero = f"{tensor}_scale", f"{tensor}_zero_point"
    graph.initializer.append(numpy_helper.from_array(np.array(step), scale))
    graph.initializer.append(numpy_helper.from_array(np.zeros((), kind), zero))
    quantized, back = f"{tensor}_quantized", f"{tensor}_dequantized"
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero], [quantized], f"{name}/QuantizeLinear"),
        helper.make_node("DequantizeLinear", [quantized, scale, zero], [back], f"{name}/DequantizeLinear"),
    ]


def _weight(graph: onnx.GraphProto, node: onnx.NodeProto, weight: np.ndarray) -> onnx.NodeProto:
    """The node that makes a layer's weight from int8, a step for each output channel."""
    axis = _CHANNEL_AXIS[node.op_type]
    others = tuple(a for a in range(weight.ndim) if a != axis)
    steps = np.abs(weight).max(axis=others, keepdims=True).astype(np.float32) / LEVELS
    steps[steps == 0] = 1
    values = np.clip(np.round(weight / steps), -LEVELS, LEVELS).astype(np.int8)
    names = [f"{node.name}/{part}" for part in ("weight_quantized", "weight_scale", "weight_zero_point")]
    for name, part in zip(names, (values, steps.ravel(), np.zeros(steps.size, np.int8)), strict=True):
        graph.initializer.append(numpy_helper.from_array(part, name))
    return helper.make_node(
        "DequantizeLinear", names, [f"{node.name}/weight"], f"{node.name}/weight/DequantizeLinear", axis=axis
    )

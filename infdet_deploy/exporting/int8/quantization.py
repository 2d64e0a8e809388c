"""A float32 stage as int8 Q/DQ: symmetric, all zero points 0, weights per channel, activations per tensor.

Convolutions are quantized. Matrix products are less than a hundredth of the work, and OpenVINO 2026 computes Gemm in
Q/DQ format wrongly. Pools, concatenations and other operators that move values between convolutions, and the states of
incremental towers, pass int8 through: their inputs and outputs share one scale, so that a backend can stay in int8.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from infdet_deploy.exporting.checks import Tensors
from infdet_deploy.exporting.tensors import NEXT

LEVELS = 127  # symmetric int8: −127…127 times the scale
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}  # the axis of a weight's output channels
_JOINING = ("Concat", "Max")  # all their inputs are data; of the operators below only the first input is
# Mul multiplies by a mask of 0 and 1 in incremental towers.
_PASSING = (*_JOINING, "MaxPool", "DepthToSpace", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Pad", "Mul")
# Between the graph's input and the first layer; bytes stay whole numbers, except the padding of 127.5.
_MOVING_BYTES = ("Cast", "Concat", "Slice", "Pad", "Unsqueeze", "Reshape", "Transpose")
# Not worth quantizing, or too sensitive for 8 bits: attention energies, mixtures, the flow's last layer.
_FLOAT32 = re.compile(r"/(query|key|flow_pred)/|/classifiers/\d+/")


@dataclass(frozen=True)
class Int8File:
    """One of the two files of each int8 stage. format: its name in the manifest; backend: measures its error.

    unsigned: activations that are never negative are uint8, which OpenVINO needs for correct and fast results; TensorRT
    supports signed activations only (docs/int8.md).
    """

    format: str
    backend: str
    unsigned: bool

    def name(self, stage: str) -> str:
        return f"{stage}.int8.onnx" if self.format == "onnx" else f"{stage}.int8.{self.format}.onnx"

    @property
    def operators(self) -> str:
        """The manifest's key for the numbers of operators by precision."""
        return "operators" if self.format == "onnx" else f"operators_{self.format}"


INT8_FILES = (Int8File("onnx", "onnxruntime", unsigned=False), Int8File("openvino", "openvino", unsigned=True))


@dataclass(frozen=True)
class CalibratedGraph:
    """A float32 graph of which any layers can be quantized.

    layers: names of the nodes that can be quantized, in graph order. scales: the quantization step of each tensor that
    can be int8. positive: those of these tensors that were never below 0.
    """

    model: ModelProto
    layers: tuple[str, ...]
    scales: dict[str, float]
    positive: frozenset[str]


def calibrate(model: ModelProto, feeds: Iterable[Tensors]) -> CalibratedGraph:
    """Find the layers that can be quantized, and measure the range of their inputs over all feeds.

    A tensor's scale covers its largest magnitude: clipping the largest values increased the towers' errors.
    """
    layers = quantizable_layers(model)
    groups = _same_scale(_int8_inputs(model.graph, layers))
    lowest, highest = _ranges(model, [tensor for group in groups for tensor in group], feeds)
    grey_levels = _input_bytes(model.graph)
    scales: dict[str, float] = {}
    positive: set[str] = set()
    for group in groups:
        largest = max(max(-lowest[tensor], highest[tensor]) for tensor in group)
        if not grey_levels.isdisjoint(group):
            largest = 255.0  # other recordings may be brighter; every grey level stays exact
        scales |= dict.fromkeys(group, largest / LEVELS or 1.0)
        if all(lowest[tensor] >= 0 for tensor in group):
            positive |= set(group)
    return CalibratedGraph(model, layers, scales, frozenset(positive))


def transfer_scales(calibrated: CalibratedGraph, model: ModelProto) -> CalibratedGraph:
    """Calibrate another graph of the same layers, such as the stage's incremental tower, with the stage's scales."""
    stage_inputs = {node.name: node.input[0] for node in calibrated.model.graph.node}
    layers = quantizable_layers(model)
    same = {layer: stage_inputs[layer.replace(model.graph.name, calibrated.model.graph.name, 1)] for layer in layers}
    int8_inputs = _int8_inputs(model.graph, layers)
    scales: dict[str, float] = {}
    positive: set[str] = set()
    for group in _same_scale(int8_inputs):
        known = [same[node.name] for node, tensor in int8_inputs if node.name in same and tensor in group]
        scales |= dict.fromkeys(group, max(calibrated.scales[tensor] for tensor in known))
        if calibrated.positive.issuperset(known):
            positive |= set(group)
    return CalibratedGraph(model, layers, scales, frozenset(positive))


def quantizable_layers(model: ModelProto) -> tuple[str, ...]:
    """The names of the convolutions with constant float32 weights, except those that match `_FLOAT32`."""
    constants = {i.name for i in model.graph.initializer if i.data_type == TensorProto.FLOAT}
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in _CHANNEL_AXIS and node.input[1] in constants and not _FLOAT32.search(node.name)
    )


def _data_inputs(node: NodeProto) -> list[str]:
    """The tensors whose values a passing node moves; its other inputs are parameters."""
    return list(node.input) if node.op_type in _JOINING else list(node.input[:1])


def _after_relu(graph: GraphProto) -> set[str]:
    """The tensors that contain only outputs of ReLUs, moved or joined. A state contains its layer's earlier inputs."""
    tensors = {value.name.removeprefix(NEXT) for value in graph.output if value.name.startswith(NEXT)}
    for node in graph.node:  # inputs before outputs
        if node.op_type == "Relu" or (node.op_type in _PASSING and tensors.issuperset(_data_inputs(node))):
            tensors.update(node.output)
    return tensors


def _input_bytes(graph: GraphProto) -> set[str]:
    """The tensors that contain only bytes of the graph's input, cast or moved."""
    tensors = {v.name for v in graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        if node.op_type in _MOVING_BYTES and node.input[0] in tensors:
            tensors.update(node.output)
    return tensors


def _int8_inputs(graph: GraphProto, chosen: Collection[str]) -> list[tuple[NodeProto, str]]:
    """Each (node, input) that is int8 when the chosen layers are: the layers' inputs, the inputs of operators that pass
    int8 on to them, and the inputs of nodes that keep int8 values as the next step's state."""
    after_relu, quantized = _after_relu(graph), set[str]()
    found: list[tuple[NodeProto, str]] = []
    for node in reversed(graph.node):  # readers before the node whose output they read
        passes = node.op_type in _PASSING and node.output[0] in quantized & after_relu
        tensors = [node.input[0]] if node.name in chosen else dict.fromkeys(_data_inputs(node)) if passes else []
        found += [(node, tensor) for tensor in tensors]
        quantized.update(tensors)
    known = {(node.name, tensor) for node, tensor in found}
    states = [node for node in graph.node if node.output[0].startswith(NEXT) and node.input[0] in quantized]
    return found + [(node, node.input[0]) for node in states if (node.name, node.input[0]) not in known]


def _same_scale(int8_inputs: Iterable[tuple[NodeProto, str]]) -> list[list[str]]:
    """Groups of tensors that share a scale because an operator passes int8 between them."""
    int8_inputs = list(int8_inputs)
    group_of = {tensor: [tensor] for _, tensor in int8_inputs}
    for node, tensor in int8_inputs:
        ours, other = group_of[tensor], group_of.get(node.output[0])
        if node.op_type in _PASSING and other is not None and other is not ours:
            ours += other
            group_of |= dict.fromkeys(other, ours)
    return list({id(group): group for group in group_of.values()}.values())


def _ranges(
    model: ModelProto, tensors: Collection[str], feeds: Iterable[Tensors]
) -> tuple[dict[str, float], dict[str, float]]:
    """The smallest and largest value of each tensor, or 0. Memory: the tensors of one feed at a time."""
    watched = ModelProto()
    watched.CopyFrom(model)
    names = [value.name for value in model.graph.input]
    inner = [tensor for tensor in tensors if tensor not in names]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = open_session(watched)
    lowest, highest = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for feed in feeds:
        inputs = {name: feed[name] for name in names}
        for name, values in (*zip(inner, session.run(inner, inputs), strict=True), *inputs.items()):
            if name in lowest:
                lowest[name] = min(lowest[name], float(values.min()))
                highest[name] = max(highest[name], float(values.max()))
    return lowest, highest


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """The graph on ONNX Runtime's CPU backend."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def quantize(calibrated: CalibratedGraph, keep: Collection[str] = (), unsigned: bool = False) -> ModelProto:
    """The calibrated graph with all its layers in int8, except those in `keep`.

    unsigned: tensors that were never below 0 become uint8 with zero point 0 and half the step.
    """
    model = ModelProto()
    model.CopyFrom(calibrated.model)
    graph = model.graph
    chosen = set(calibrated.layers) - set(keep)
    producer = {output: node.name for node in graph.node for output in node.output}
    weights = {i.name: i for i in graph.initializer}
    after: dict[str, list[NodeProto]] = {}
    for node, tensor in _int8_inputs(graph, chosen):
        if tensor not in after:
            positive = unsigned and tensor in calibrated.positive
            kind, step = ("uint8", LEVELS / 255) if positive else ("int8", 1.0)
            step *= calibrated.scales[tensor]
            after[tensor] = _pair(graph, tensor, producer.get(tensor, f"{graph.name}/{tensor}"), step, kind)
        for place in range(len(node.input) if node.op_type in _JOINING else 1):
            if node.input[place] == tensor:
                node.input[place] = f"{tensor}_dequantized"
    nodes = [added for value in graph.input for added in after.get(value.name, [])]
    for node in graph.node:
        if node.name in chosen:
            nodes.append(_weight(graph, node, numpy_helper.to_array(weights[node.input[1]])))
            node.input[1] = nodes[-1].output[0]
        nodes += [node, *(added for output in node.output for added in after.get(output, []))]
    used = {name for node in nodes for name in node.input}
    constants = [i for i in graph.initializer if i.name in used]
    graph.CopyFrom(helper.make_graph(nodes, graph.name, graph.input, graph.output, constants))
    return model


def _pair(graph: GraphProto, tensor: str, name: str, step: float, kind: str) -> list[NodeProto]:
    """Quantize and dequantize the tensor, which the node `name` computes."""
    scale, zero = f"{tensor}_scale", f"{tensor}_zero_point"
    graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), scale))
    graph.initializer.append(numpy_helper.from_array(np.zeros((), kind), zero))
    small, back = f"{tensor}_quantized", f"{tensor}_dequantized"
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero], [small], f"{name}/QuantizeLinear"),
        helper.make_node("DequantizeLinear", [small, scale, zero], [back], f"{name}/DequantizeLinear"),
    ]


def _weight(graph: GraphProto, node: NodeProto, weight: npt.NDArray[np.float32]) -> NodeProto:
    """The node that dequantizes a layer's int8 weight, with a step for each output channel."""
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

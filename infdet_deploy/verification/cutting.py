"""Dividing an ONNX graph into the network's modules, and cutting it between them.

A node's name contains the path of its module (`infrared_tower/Mixed_4c/b1b/Conv`). Casts and quantization belong to no
module: they are cut out with the nodes that read them.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import onnx
from onnx import TensorProto, helper

_CARRIERS = {"Cast", "Constant", "Identity", "QuantizeLinear", "DequantizeLinear"}
# In older bundles the head's fusion and mixtures are not modules of their own, and its classifiers have no batch axis.
_OLD_HEAD = re.compile(r"head/classifiers/\d+/Conv$")
_LAYOUT = {"Expand", "Gather", "Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze"}  # differ between these heads
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Module:
    """name: the module's path, followed by its last operator if the module's nodes are not consecutive.

    outputs: its tensors that other modules use and that the reference graph contains too.
    """

    name: str
    outputs: tuple[str, ...]


class StageGraph:
    """A stage's ONNX file. Raises onnx's own errors for a file that is no ONNX model."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(str(path))
        graph = self.model.graph
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        self.types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info)}
        self.types |= {v.name: v.type.tensor_type.elem_type for v in inferred.output}
        self.ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in inferred.value_info}
        self.inputs = {value.name: value for value in graph.input}
        self.outputs = tuple(value.name for value in graph.output)
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output}

    def keys(self) -> dict[tuple[str, str, int], str]:
        """The floating-point tensors, without those of casts and quantization.

        The keys are the same in every export of the network but older heads: node name, operator, index among the
        node's outputs.
        """
        return {
            (node.name, node.op_type, index): name
            for node in self.model.graph.node
            for index, name in enumerate(node.output)
            if node.op_type not in _CARRIERS and self.types.get(name) in _FLOATS
        }

    def pairs(self, other: "StageGraph") -> dict[str, str]:
        """Tensors of this graph that `other`, a new export of the stage, has too, with their names there."""
        ours, theirs = self.keys(), other.keys()
        if any(_OLD_HEAD.match(name) for name, _, _ in ours):
            ours, theirs = _ordinals(ours), _ordinals(theirs)
        return {tensor: theirs[key] for key, tensor in ours.items() if key in theirs}

    def modules(self, known: Collection[str]) -> list[Module]:
        """The modules with an output in `known`, the tensors that can be compared, in data order."""
        nodes = [node for node in self.model.graph.node if node.op_type not in _CARRIERS]
        runs = [(path, list(run)) for path, run in groupby(nodes, lambda node: node.name.rpartition("/")[0])]
        often = Counter(path for path, _ in runs)
        users: dict[str, set[int]] = {}
        place = {id(node): index for index, (_, run) in enumerate(runs) for node in run}
        for node in self.model.graph.node:
            for name in node.input:
                users.setdefault(name, set()).add(place.get(id(node), -1))
        found = []
        for index, (path, run) in enumerate(runs):
            leaving = tuple(
                name
                for node in run
                for name in node.output
                if name in known and (name in self.outputs or users.get(name, set()) - {index})
            )
            if leaving:
                found.append(Module(path if often[path] == 1 else run[-1].name, leaving))
        return found

    def cut(self, outputs: Collection[str], known: Mapping[str, Sequence[int]], path: Path) -> tuple[str, ...]:
        """Write the part of the graph that computes `outputs` from `known` tensors. Returns the names of its inputs.

        known: shapes by tensor. These tensors become float32 inputs `in:NAME`; a graph input keeps its name and type.
        The outputs become `out:NAME`, float32.
        """
        wanted, needed, fed = list(outputs), set(), set()
        while wanted:
            name = wanted.pop()
            if name in self.inputs or (name in known and name not in outputs):
                fed.add(name)
            elif name in self.producer and id(self.producer[name]) not in needed:
                needed.add(id(self.producer[name]))
                wanted += [one for one in self.producer[name].input if one]
        nodes = [node for node in self.model.graph.node if id(node) in needed]
        inputs = [self.inputs[name] for name in sorted(fed) if name in self.inputs]
        for name in sorted(fed - self.inputs.keys()):
            inputs.append(helper.make_tensor_value_info(f"in:{name}", TensorProto.FLOAT, list(known[name])))
            nodes.insert(0, helper.make_node("Cast", [f"in:{name}"], [name], f"in:{name}", to=self.types[name]))
        nodes += [helper.make_node("Cast", [n], [f"out:{n}"], f"out:{n}", to=TensorProto.FLOAT) for n in outputs]
        values = [helper.make_tensor_value_info(f"out:{name}", TensorProto.FLOAT, None) for name in outputs]
        used = {name for node in nodes for name in node.input}
        weights = [weight for name, weight in self.weights.items() if name in used]
        graph = helper.make_graph(nodes, self.model.graph.name or "cut", inputs, values, weights)
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        model.functions.extend(self.model.functions)
        onnx.save(model, str(path))
        return tuple(value.name for value in inputs)


def _ordinals(keys: Mapping[tuple[str, str, int], str]) -> dict[tuple[str, str, int], str]:
    """A head's tensors by module, operator and place among the module's operators of this kind.

    The fusion is one module here, and so is a classifier with its mixtures. The key contains the number of operators of
    this kind in the module, so that tensors are not matched where old and new heads compute differently.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    scored = False
    for (name, operator, _), tensor in keys.items():
        path = re.sub(r"/sub_event\d$", "", name.rpartition("/")[0])
        scored = scored or path.startswith("head/classifiers/")
        if path == "head" and not scored:
            path = "head/fusion"
        if path.endswith(("/hidden", "/output")) and operator == "Gemm":
            operator = "Add"  # a new head has a MatMul and an Add
        if operator not in _LAYOUT:
            groups.setdefault((path, operator), []).append(tensor)
    return {
        (path, f"{operator} of {len(tensors)}", index): tensor
        for (path, operator), tensors in groups.items()
        for index, tensor in enumerate(tensors)
    }

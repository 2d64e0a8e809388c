"""Parts of a head's graph, compiled by OpenVINO: the graph is cut at tensors that depend on the whole clip.

`runtime/long_head.py` runs the parts block by block; `live/head.py` caches the output of one of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from infdet_deploy.runtime.backends.openvino import properties, shared_core

SELECTION_HALO = 2  # snippets on either side that the selection's two convolutions of 3 see

Array = NDArray[np.float32]


class HeadGraph:
    """A head's graph and the names of the tensors at which it can be cut.

    Selection between the streams: `selected` float32 [1, 8d, T'] → maximum over time `maxima` [1, 8d] → `weights`.
    Attention: (query [1, T', h], key [1, h, T'], value [1, T', d]) in `attentions` → `attended` [1, T', d].
    Super-events: `filters` [1, N, T'] · `event_features` [1, T', d] = `events` [1, N, d]; `times` is 0 … T'−1.
    """

    def __init__(self, head: Path) -> None:
        """head: the stage's ONNX file."""
        self.model = shared_core().read_model(str(head))
        self.scores = [_input(result.get_node(), 0) for result in self.model.outputs]
        maxima = [node for node in self._nodes("ReduceMax") if "/classifiers/" not in node.get_friendly_name()]
        self.selected = [_input(node, 0) for node in maxima]
        self.maxima = [node.output(0).any_name for node in maxima]
        self.weights = [_next(node, "Sigmoid").output(0).any_name for node in maxima]
        softmaxes = self._nodes("Softmax")
        products = [_next(softmax, "MatMul") for softmax in softmaxes]
        energies = [softmax.input_value(0).get_node() for softmax in softmaxes]
        self.attentions = [
            (_input(energy, 0), _input(energy, 1), _input(product, 1))
            for energy, product in zip(energies, products, strict=True)
        ]
        self.attended = [product.output(0).any_name for product in products]
        self.times = [node.output(0).any_name for node in self._nodes("Range")]
        events = [
            node
            for node in self._nodes("MatMul")
            if "/super_event/" in node.get_friendly_name() and node.get_output_partial_shape(0).rank.get_length() == 3
        ]
        self.filters, self.event_features = ([_input(node, index) for node in events] for index in (0, 1))
        self.events = [node.output(0).any_name for node in events]

    def _nodes(self, kind: str) -> list[Any]:
        return [node for node in self.model.get_ordered_ops() if node.get_type_name() == kind]

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> "Part":
        """Compile the part from the head's inputs and the tensors `inputs` to the tensors `outputs`."""
        return Part(self.model.clone(), inputs, outputs)  # a clone shares the weights


class Part:
    """A compiled part of a head. All inputs and outputs other than the head's own are float32."""

    def __init__(self, model: openvino.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        nodes = [node for node in model.get_ordered_ops() if node.get_type_name() != "Result"]
        tensors = {name: output for node in nodes for output in node.outputs() for name in output.names}
        results = [opset13.result(_as(tensors[name], openvino.Type.f32)) for name in outputs]
        parameters = {tensor.any_name: tensor.get_node() for tensor in model.inputs}
        for name in inputs:
            tensor = tensors[name]
            parameters[name] = opset13.parameter(tensor.get_partial_shape(), openvino.Type.f32, name)
            parameters[name].output(0).set_names({name})
            source = _as(parameters[name].output(0), tensor.get_element_type())
            for target in tensor.get_target_inputs():
                target.replace_source_output(source)
        used = _parameters(results)
        self._inputs = [name for name, node in parameters.items() if node.get_friendly_name() in used]
        part = openvino.Model(results, [parameters[name] for name in self._inputs], "part")
        self._compiled = shared_core().compile_model(part, "CPU", properties("latency")) if results else None

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> list[Array]:
        """The outputs. feeds: at least the inputs that the part uses, by name."""
        if self._compiled is None:
            return []
        return list(self._compiled({name: feeds[name] for name in self._inputs}).to_tuple())


def _input(node: Any, index: int) -> str:
    name: str = node.input_value(index).any_name
    return name


def _next(node: Any, kind: str) -> Any:
    """The first node of a kind downstream of this one."""
    while node.get_type_name() != kind:
        node = next(iter(node.output(0).get_target_inputs())).get_node()
    return node


def _as(tensor: Any, kind: Any) -> Any:
    return tensor if tensor.get_element_type() == kind else opset13.convert(tensor, kind.get_type_name()).output(0)


def _parameters(results: Sequence[Any]) -> set[str]:
    """The names of the parameters that results are computed from."""
    pending, seen = list(results), {}
    while pending:
        node = pending.pop()
        if node.get_friendly_name() not in seen:
            seen[node.get_friendly_name()] = node
            pending += [tensor.get_node() for tensor in node.input_values()]
    return {name for name, node in seen.items() if node.get_type_name() == "Parameter"}

"""A head's graph, cut where it sees a whole clip, and its parts compiled by OpenVINO.

`runtime/long_head.py` runs the parts block by block, `live/head.py` keeps what one of them gave.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from infdet_deploy.runtime.backends.openvino import properties

SELECTION_HALO = 2  # snippets on either side that the selection's two convolutions of 3 see

Array = NDArray[np.float32]
Output = Any  # openvino.Output: a tensor of a graph


class Attention(NamedTuple):
    """query [1, T', h], key [1, h, T'], value [1, T', d] → attended [1, T', d]."""

    query: Output
    key: Output
    value: Output
    attended: Output


class Event(NamedTuple):
    """filters [1, N, T'] · features [1, T', d] = product [1, N, d]."""

    filters: Output
    features: Output
    product: Output


class Graph:
    """A head's graph, and the tensors at which it may be cut."""

    def __init__(self, model: openvino.Model) -> None:
        self.inputs = {one.any_name: one.get_node() for one in model.inputs}
        self._results = model.outputs
        maxima = [n for n in _nodes(model, "ReduceMax") if "/classifiers/" not in n.get_friendly_name()]
        self.selected = [n.input_value(0) for n in maxima]
        self.maxima = [n.output(0) for n in maxima]
        self.shares = [_next(n, "Sigmoid").output(0) for n in maxima]
        self.attentions = [_attention(n) for n in _nodes(model, "Softmax")]
        self.attended = [one.attended for one in self.attentions]
        self.times = [n.output(0) for n in _nodes(model, "Range")]
        self.events = [
            Event(n.input_value(0), n.input_value(1), n.output(0))
            for n in _nodes(model, "MatMul")
            if "/super_event/" in n.get_friendly_name() and n.get_output_partial_shape(0).rank.get_length() == 3
        ]

    def scores(self) -> list[Output]:
        return [result.get_node().input_value(0) for result in self._results]


def _nodes(model: openvino.Model, kind: str) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == kind]


def _next(node: Any, kind: str) -> Any:
    """The first node of a kind on the way from this one."""
    while node.get_type_name() != kind:
        node = next(iter(node.output(0).get_target_inputs())).get_node()
    return node


def _attention(softmax: Any) -> Attention:
    energies, product = softmax.input_value(0).get_node(), _next(softmax, "MatMul")
    return Attention(energies.input_value(0), energies.input_value(1), product.input_value(1), product.output(0))


class Part:
    """A part of the head, compiled: from inputs and given tensors to wanted ones, all of these float32."""

    def __init__(
        self,
        model: openvino.Model,
        given: Callable[[Graph], Sequence[Output]],
        wanted: Callable[[Graph], Sequence[Output]],
    ) -> None:
        copy = model.clone()  # which shares the weights
        graph = Graph(copy)
        results = [opset13.result(_as(tensor, openvino.Type.f32)) for tensor in wanted(graph)]
        parameters = dict(graph.inputs)
        self.given = tuple(f"given {index}" for index, _ in enumerate(given(graph)))
        for name, tensor in zip(self.given, given(graph), strict=True):
            parameters[name] = opset13.parameter(tensor.get_partial_shape(), openvino.Type.f32, name)
            parameters[name].output(0).set_names({name})
            source = _as(parameters[name].output(0), tensor.get_element_type())
            for target in tensor.get_target_inputs():
                target.replace_source_output(source)
        used = _sources(results)
        self.outputs = len(results)
        self._inputs = [name for name, node in parameters.items() if node.get_friendly_name() in used]
        self._compiled = None
        if results:
            part = openvino.Model(results, [parameters[name] for name in self._inputs], "part")
            self._compiled = openvino.Core().compile_model(part, "CPU", properties("latency"))

    def __call__(self, feeds: Mapping[str, np.ndarray], given: Sequence[Array] = ()) -> list[Array]:
        """What is wanted, for some of the head's inputs and all given tensors; nothing where nothing is wanted."""
        if self._compiled is None:
            return []
        every = {**feeds, **dict(zip(self.given, given, strict=True))}
        found = self._compiled({name: every[name] for name in self._inputs})
        return [found[index] for index in range(self.outputs)]


def _as(tensor: Output, kind: Any) -> Output:
    return tensor if tensor.get_element_type() == kind else opset13.convert(tensor, kind.get_type_name()).output(0)


def _sources(results: Sequence[Any]) -> set[str]:
    """The names of the parameters that results are computed from."""
    ahead, seen = list(results), {}
    while ahead:
        node = ahead.pop()
        if node.get_friendly_name() not in seen:
            seen[node.get_friendly_name()] = node
            ahead += [one.get_node() for one in node.input_values()]
    return {name for name, node in seen.items() if node.get_type_name() == "Parameter"}

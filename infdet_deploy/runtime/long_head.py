"""The head on a recording of any length, in bounded memory: the same scores, block by block.

A head sees a whole clip in three places only, and its graph is cut there; everything else is local in time.

1. The selection weight comes from a maximum over time: the largest of the blocks' maxima.
2. The attention's softmax over all keys: exact with a running maximum and sum while keys and values pass by block after
   block (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018).
3. A super-event is a sum over the clip, weighed by its filters: the blocks' sums added up.

OpenVINO computes the parts from the bundle's own head file, whatever computes the towers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.rows import Rows

BLOCK = 512  # snippets computed at once
SELECTION_HALO = 2  # snippets that a block needs on either side: two convolutions of 3
MIXTURE_HALO = 6  # three mixtures of 5

Array = NDArray[np.float32]
Features = Mapping[str, Rows | Array]
Output = Any  # openvino.Output: a tensor of a graph


def long_scores(head: Path, features: Features, length: int) -> Array:
    """Features float32 [T', d] of each stream, by the name of the head's input → scores float32 [T', C].

    head: the stage's ONNX file. length: valid snippets. Needs room for twice the features in temporary files. Raises
    BackendError for a graph without the parts that a head has.
    """
    model = openvino.Core().read_model(str(head))
    if not _Graph(model).events:
        raise BackendError(f"{head.name} cannot be cut into parts for a recording this long; export the bundle again")
    with ExitStack() as files:
        shares = _shares(model, features)
        attended = _attended(model, features, shares, files)
        events = _super_events(model, features, shares, attended, length)
        part = _Part(model, lambda g: [*g.shares, *g.attended, *(event.product for event in g.events)], _Graph.scores)
        found = []
        for start, stop, keep in _blocks(features, MIXTURE_HALO):
            here = [rows[start:stop][None] for rows in attended]
            found.append(part(_cut(features, start, stop), [*shares, *here, *events])[0][keep])
        return np.concatenate(found)


def _shares(model: openvino.Model, features: Features) -> list[Array]:
    """The selection weight, one number; nothing where nothing is selected."""
    part = _Part(model, lambda g: [], lambda g: g.selected)
    maxima: list[Array] = []
    for start, stop, keep in _blocks(features, SELECTION_HALO):
        here = [values[..., keep].max(axis=2) for values in part(_cut(features, start, stop))]
        maxima = list(map(np.maximum, maxima, here)) if maxima else here
    return _Part(model, lambda g: g.maxima, lambda g: g.shares)({}, maxima)


def _attended(model: openvino.Model, features: Features, shares: list[Array], files: ExitStack) -> list[Rows]:
    """What each attention gives before γ: float32 [T', d]."""
    part = _Part(model, lambda g: g.shares, lambda g: [t for one in g.attentions for t in one[:3]])
    kept = [files.enter_context(Rows()) for _ in range(part.outputs)]  # query, key, value, and so on
    for start, stop, _ in _blocks(features):
        for index, (rows, found) in enumerate(zip(kept, part(_cut(features, start, stop), shares), strict=True)):
            rows.append(found[0].T if index % 3 == 1 else found[0])
    attended = []
    for query, key, value in zip(kept[::3], kept[1::3], kept[2::3], strict=True):
        attended.append(files.enter_context(Rows()))
        for start in range(0, len(query), BLOCK):
            attended[-1].append(attend(query[start : start + BLOCK], key, value))
    return attended


def attend(query: Array, key: Rows | Array, value: Rows | Array) -> Array:
    """softmax(query · keyᵀ) · value, exactly, with one block of keys in memory at a time.

    query: float32 [n, h]; key: [T', h]; value: [T', d]. Gives float32 [n, d].
    """
    top = np.full((len(query), 1), -np.inf, np.float32)
    total, result = np.zeros((len(query), 1), np.float32), np.float32(0)
    for start in range(0, len(key), BLOCK):
        energy = query @ key[start : start + BLOCK].T
        new = np.maximum(top, energy.max(axis=1, keepdims=True))
        weight, before = np.exp(energy - new), np.exp(top - new)
        total = total * before + weight.sum(axis=1, keepdims=True)
        result = result * before + weight @ value[start : start + BLOCK]
        top = new
    return result / total


def _super_events(
    model: openvino.Model, features: Features, shares: list[Array], attended: list[Rows], length: int
) -> list[Array]:
    """Each filter bank's sums over the clip: float32 [1, N, d]."""
    clip = _Part(model, lambda g: g.times, lambda g: [event.filters for event in g.events])
    time = np.arange(_snippets(features), dtype=np.float32)
    filters = clip({"length": np.array([length], np.int64)}, [time] * len(clip.given))
    part = _Part(model, lambda g: [*g.shares, *g.attended], lambda g: [event.features for event in g.events])
    sums: list[Any] = [0.0] * len(filters)
    for start, stop, _ in _blocks(features):
        here = part(_cut(features, start, stop), [*shares, *(rows[start:stop][None] for rows in attended)])
        sums = [
            s + (bank[..., start:stop] @ x).astype(np.float64) for s, bank, x in zip(sums, filters, here, strict=True)
        ]
    return [total.astype(np.float32) for total in sums]


def _snippets(features: Features) -> int:
    return len(next(iter(features.values())))


def _cut(features: Features, start: int, stop: int) -> dict[str, Array]:
    return {name: rows[start:stop] for name, rows in features.items()}


def _blocks(features: Features, halo: int = 0) -> Iterator[tuple[int, int, slice]]:
    """Where to cut: the first snippet, the one after the last, and which of the block's own to keep."""
    total = _snippets(features)
    for first in range(0, total, BLOCK):
        last = min(first + BLOCK, total)
        start, stop = max(first - halo, 0), min(last + halo, total)
        yield start, stop, slice(first - start, last - start)


class _Attention(NamedTuple):
    """query [1, T', h], key [1, h, T'], value [1, T', d] → attended [1, T', d]."""

    query: Output
    key: Output
    value: Output
    attended: Output


class _Event(NamedTuple):
    """filters [1, N, T'] · features [1, T', d] = product [1, N, d]."""

    filters: Output
    features: Output
    product: Output


class _Graph:
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
            _Event(n.input_value(0), n.input_value(1), n.output(0))
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


def _attention(softmax: Any) -> _Attention:
    energies, product = softmax.input_value(0).get_node(), _next(softmax, "MatMul")
    return _Attention(energies.input_value(0), energies.input_value(1), product.input_value(1), product.output(0))


class _Part:
    """A part of the head, compiled: from inputs and given tensors to wanted ones, all of these float32."""

    def __init__(
        self,
        model: openvino.Model,
        given: Callable[[_Graph], Sequence[Output]],
        wanted: Callable[[_Graph], Sequence[Output]],
    ) -> None:
        copy = model.clone()  # which shares the weights
        graph = _Graph(copy)
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
            properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            self._compiled = openvino.Core().compile_model(part, "CPU", properties)

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

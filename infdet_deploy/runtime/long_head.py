"""The head on a recording of any length, in bounded memory: the same scores, block by block.

Only three operations of a head depend on the whole clip, and its graph is cut there; all others are local in time.

1. The selection weight comes from a maximum over time: the largest of the blocks' maxima.
2. The attention's softmax is over all keys: exact with a running maximum and sum over blocks of keys and values
   (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018).
3. A super-event is a weighted sum over the clip: the sum of the blocks' sums.

OpenVINO computes the parts from the bundle's own head file, whichever backend computes the towers. It uses the float32
file if it does not support the towers' precision on this processor.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.disk_array import DiskArray
from infdet_deploy.runtime.head_parts import SELECTION_HALO, Array, HeadGraph, Part

BLOCK = 512  # snippets computed at once
MIXTURE_HALO = 6  # snippets that a block needs on either side: three mixtures of 5


def long_scores(head: Path, features: Mapping[str, DiskArray | Array], length: int) -> Array:
    """Features float32 [T', d] of each stream, by the name of the head's input → scores float32 [T', C].

    head: the stage's ONNX file. length: valid snippets. Needs temporary files of twice the features' size. Raises
    BackendError for a graph that lacks the parts of a head.
    """
    graph = HeadGraph(head)
    if not graph.events:
        raise BackendError(f"{head.name} cannot be cut into parts for a recording this long; export the bundle again")
    with ExitStack() as files:
        clip = _Clip(features)
        _select(graph, clip)
        _attend(graph, clip, files)
        _sum_events(graph, clip, length)
        part = graph.part([*graph.weights, *graph.attended, *graph.events], graph.scores)
        return np.concatenate([scores[keep] for keep, (scores,) in clip.run(part, MIXTURE_HALO)])


class _Clip:
    """What is known of a recording.

    features: the head's inputs [T', d]. attended: outputs of attentions [T', d]. constants: tensors that are the same
    for every block. All float32, by tensor name.
    """

    def __init__(self, features: Mapping[str, DiskArray | Array]) -> None:
        self.features = features
        self.snippets = len(next(iter(features.values())))
        self.attended: dict[str, DiskArray] = {}
        self.constants: dict[str, Array] = {}

    def run(self, part: Part, halo: int = 0) -> Iterator[tuple[slice, list[Array]]]:
        """Run a part on each block and `halo` snippets on either side. Yields which rows are the block's, and the
        outputs."""
        for first in range(0, self.snippets, BLOCK):
            last = min(first + BLOCK, self.snippets)
            start, stop = max(first - halo, 0), min(last + halo, self.snippets)
            feeds = {name: rows[start:stop] for name, rows in self.features.items()}
            feeds |= {name: rows[start:stop][None] for name, rows in self.attended.items()}
            yield slice(first - start, last - start), part(feeds | self.constants)


def _select(graph: HeadGraph, clip: _Clip) -> None:
    """Compute the selection weight, if the head selects between streams."""
    if graph.selected:
        blocks = clip.run(graph.part([], graph.selected), SELECTION_HALO)
        largest = [[tensor[..., keep].max(axis=2) for tensor in tensors] for keep, tensors in blocks]
        maxima = dict(zip(graph.maxima, map(np.maximum.reduce, zip(*largest, strict=True)), strict=True))
        clip.constants.update(zip(graph.weights, graph.part(graph.maxima, graph.weights)(maxima), strict=True))


def _attend(graph: HeadGraph, clip: _Clip, files: ExitStack) -> None:
    """Compute what each attention gives before γ."""
    names = [name for attention in graph.attentions for name in attention]
    if not names:
        return
    stored = [files.enter_context(closing(DiskArray())) for _ in names]
    for _, tensors in clip.run(graph.part(graph.weights, names)):
        for index, (rows, tensor) in enumerate(zip(stored, tensors, strict=True)):
            rows.append(tensor[0].T if index % 3 == 1 else tensor[0])  # keys are [1, h, T']
    for name, query, key, value in zip(graph.attended, stored[::3], stored[1::3], stored[2::3], strict=True):
        rows = clip.attended[name] = files.enter_context(closing(DiskArray()))
        for start in range(0, len(query), BLOCK):
            rows.append(attend(query[start : start + BLOCK], key, value))


def attend(query: Array, key: DiskArray | Array, value: DiskArray | Array) -> Array:
    """softmax(query · keyᵀ) · value, exactly, with one block of keys in memory at a time.

    query: float32 [n, h]; key: [T', h]; value: [T', d]. Returns float32 [n, d].
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


def _sum_events(graph: HeadGraph, clip: _Clip, length: int) -> None:
    """Compute each filter bank's sums over the clip: float32 [1, N, d]."""
    times = dict.fromkeys(graph.times, np.arange(clip.snippets, dtype=np.float32))
    filters = graph.part(graph.times, graph.filters)({**times, "length": np.array([length], np.int64)})
    sums = [np.zeros((1, bank.shape[1], 1)) for bank in filters]  # float64
    start = 0
    for keep, tensors in clip.run(graph.part([*graph.weights, *graph.attended], graph.event_features)):
        block = slice(start, start := start + keep.stop)
        sums = [total + bank[..., block] @ x for total, bank, x in zip(sums, filters, tensors, strict=True)]
    clip.constants.update({name: total.astype(np.float32) for name, total in zip(graph.events, sums, strict=True)})

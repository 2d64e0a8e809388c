"""The head on a recording of any length, in bounded memory: the same scores, block by block.

A head sees a whole clip in three places only, and its graph is cut there; everything else is local in time.

1. The selection weight comes from a maximum over time: the largest of the blocks' maxima.
2. The attention's softmax over all keys: exact with a running maximum and sum while keys and values pass by block after
   block (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018).
3. A super-event is a sum over the clip, weighed by its filters: the blocks' sums added up.

OpenVINO computes the parts from the bundle's own head file, whatever computes the towers; from the float32 one where it
cannot compute the towers' precision on this processor.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.disk_array import Rows
from infdet_deploy.runtime.head_parts import SELECTION_HALO, Array, Graph, Part

BLOCK = 512  # snippets computed at once
MIXTURE_HALO = 6  # snippets that a block needs on either side: three mixtures of 5

Features = Mapping[str, Rows | Array]


def long_scores(head: Path, features: Features, length: int) -> Array:
    """Features float32 [T', d] of each stream, by the name of the head's input → scores float32 [T', C].

    head: the stage's ONNX file. length: valid snippets. Needs room for twice the features in temporary files. Raises
    BackendError for a graph without the parts that a head has.
    """
    model = openvino.Core().read_model(str(head))
    if not Graph(model).events:
        raise BackendError(f"{head.name} cannot be cut into parts for a recording this long; export the bundle again")
    with ExitStack() as files:
        shares = _shares(model, features)
        attended = _attended(model, features, shares, files)
        events = _super_events(model, features, shares, attended, length)
        part = Part(model, lambda g: [*g.shares, *g.attended, *(event.product for event in g.events)], Graph.scores)
        found = []
        for start, stop, keep in _blocks(features, MIXTURE_HALO):
            here = [rows[start:stop][None] for rows in attended]
            found.append(part(_cut(features, start, stop), [*shares, *here, *events])[0][keep])
        return np.concatenate(found)


def _shares(model: openvino.Model, features: Features) -> list[Array]:
    """The selection weight, one number; nothing where nothing is selected."""
    part = Part(model, lambda g: [], lambda g: g.selected)
    maxima: list[Array] = []
    for start, stop, keep in _blocks(features, SELECTION_HALO):
        here = [values[..., keep].max(axis=2) for values in part(_cut(features, start, stop))]
        maxima = list(map(np.maximum, maxima, here)) if maxima else here
    return Part(model, lambda g: g.maxima, lambda g: g.shares)({}, maxima)


def _attended(model: openvino.Model, features: Features, shares: list[Array], files: ExitStack) -> list[Rows]:
    """What each attention gives before γ: float32 [T', d]."""
    part = Part(model, lambda g: g.shares, lambda g: [t for one in g.attentions for t in one[:3]])
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
    clip = Part(model, lambda g: g.times, lambda g: [event.filters for event in g.events])
    time = np.arange(_snippets(features), dtype=np.float32)
    filters = clip({"length": np.array([length], np.int64)}, [time] * len(clip.given))
    part = Part(model, lambda g: [*g.shares, *g.attended], lambda g: [event.features for event in g.events])
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

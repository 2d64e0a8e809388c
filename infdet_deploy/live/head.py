"""The head of a bundle, compiled once for all cameras, with a cache of its convolutions for a sliding window.

Most of the head's time goes into the selection between the streams: two convolutions over time, then the maximum over
the window. When the window slides, only results within two snippets of its ends change, so only new snippets and the
ends are computed.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.live.window import Features, Head
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.runtime.backends.openvino import OpenVino
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.compiled_stages import open_bundle_stage
from infdet_deploy.runtime.head_parts import SELECTION_HALO, Array, HeadGraph, Part
from infdet_deploy.runtime.results import checked_scores, head_scores


class LiveHead:
    """A bundle's head. `session()` returns a function that runs it for one stretch of frames, in any thread.

    cached: cache the results of the selection's convolutions, 33 kB a snippet at the published width. Only for OpenVINO
    and heads that select between streams; any other head is computed as a whole.
    Raises BackendError or UsageError when the backend cannot run it.
    """

    def __init__(
        self, bundle: Bundle, backend: str = "openvino", precision: str = "float32", cached: bool = True
    ) -> None:
        self._what = f"{backend} {precision}"
        self._lock = threading.Lock()
        self._parts: tuple[Part, Part] | None = None
        self._stage: CompiledStage | None = None
        if cached and isinstance(get_backend(backend), OpenVino):
            get_backend(backend).check_supports(precision)
            graph = HeadGraph(bundle.file_for(backend, "head", precision))
            if graph.selected:
                self._maximum = graph.maxima[0]
                self._parts = graph.part([], graph.selected), graph.part(graph.maxima, graph.scores)
        if self._parts is None:
            self._stage = open_bundle_stage(bundle, "head", backend, precision)

    def session(self) -> Head:
        """The head for one stretch of frames, whose windows never move backwards."""
        if self._parts is None:
            return self._scores
        return _CachedHead(*self._parts, self._maximum, self._lock, self._what).scores

    def _scores(self, features: Features, first: int, length: int) -> Array:
        assert self._stage is not None
        with self._lock:
            return head_scores(self._stage, features, length, self._what)

    def close(self) -> None:
        """Release the compiled head."""
        self._parts = None
        if self._stage is not None:
            self._stage.close()


class _CachedHead:
    """The head for one stretch, with cached results of snippets at least two away from the window's ends."""

    def __init__(self, select: Part, rest: Part, maximum: str, lock: threading.Lock, what: str) -> None:
        """maximum: the input of `rest` for the maximum over time of what `select` computes."""
        self._select, self._rest, self._maximum, self._lock, self._what = select, rest, maximum, lock, what
        self._rows: Array = np.zeros((0, 0), np.float32)  # cache [n, 8d] of the snippets before `_end`
        self._end = 0

    def scores(self, features: Features, first: int, length: int) -> Array:
        """See `window.Head`."""
        with self._lock:
            feeds: dict[str, NDArray[Any]] = {**features, "length": np.array([length], np.int64)}
            feeds[self._maximum] = self._largest(features, first)
            (scores,) = self._rest(feeds)
        return checked_scores(scores, len(next(iter(features.values()))), self._what)

    def _largest(self, features: Features, first: int) -> Array:
        """Maximum of the convolutions over the window: float32 [1, 8d]."""
        snippets = len(next(iter(features.values())))
        begin = max(self._end - SELECTION_HALO - first, 0)
        computed = self._convolved(features, begin, snippets)
        certain = computed[SELECTION_HALO:-SELECTION_HALO]
        if begin == 0:  # nothing of this window is cached
            self._rows, largest = certain, computed.max(axis=0)
        else:
            kept = self._rows[first + SELECTION_HALO - self._end :]
            self._rows = np.concatenate((kept, certain))
            border = self._convolved(features, 0, 2 * SELECTION_HALO)[:SELECTION_HALO]
            largest = np.max([part.max(axis=0) for part in (border, self._rows, computed[-SELECTION_HALO:])], axis=0)
        self._end = first + snippets - SELECTION_HALO
        return np.asarray(largest[None], np.float32)

    def _convolved(self, features: Features, start: int, stop: int) -> Array:
        """The convolutions over snippets start … stop−1 alone: float32 [n, 8d]."""
        found: Array = self._select({name: rows[start:stop] for name, rows in features.items()})[0]
        return np.asarray(found[0].T)

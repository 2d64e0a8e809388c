"""The head of a bundle, compiled once and shared by all cameras, its convolutions computed once for each snippet.

What costs a head most by far is how it selects between the streams: two convolutions over time, of whose results the
largest over the window counts. A snippet's result stays what it is while the window slides, but where the window's
zeros begin two snippets away; so only new snippets and the window's borders are computed.
"""

import threading

import numpy as np
import openvino

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.live.window import Features, Head
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.detector import finite_scores, head_scores
from infdet_deploy.runtime.head_parts import SELECTION_HALO, Array, Graph, Part
from infdet_deploy.runtime.stages import open_bundle_stage


class LiveHead:
    """A bundle's head: `session()` gives each stretch of frames a function to run it. Sessions may run in any thread.

    cached: keep what the selection's convolutions gave, 33 kB a snippet at the published width. Only OpenVINO does, and
    only where the head selects between streams; otherwise the head is computed as a whole, as for `cached=False`.
    Raises BackendError or UsageError when the backend will not do.
    """

    def __init__(
        self, bundle: Bundle, backend: str = "openvino", precision: str = "float32", cached: bool = True
    ) -> None:
        self._what = f"{backend} {precision}"
        self._lock = threading.Lock()
        self._parts: tuple[Part, Part] | None = None
        self._stage: CompiledStage | None = None
        if cached and backend == "openvino":
            get_backend(backend).check_supports(precision)  # as `open_stage` would, which does not compile the parts
            file = bundle.stage_file("head", precision, bundle.form_for("head", precision, backend, "onnx"))
            model = openvino.Core().read_model(str(file))
            if Graph(model).selected:
                select = Part(model, lambda graph: [], lambda graph: graph.selected)
                self._parts = select, Part(model, lambda graph: graph.maxima, Graph.scores)
        if self._parts is None:
            self._stage = open_bundle_stage(bundle, "head", backend, precision)

    def session(self) -> Head:
        """The head for one stretch of frames, whose windows begin ever later in it."""
        return self._scores if self._parts is None else _Selected(*self._parts, self._lock, self._what).scores

    def _scores(self, features: Features, first: int, length: int) -> np.ndarray:
        assert self._stage is not None
        with self._lock:
            return head_scores(self._stage, features, length, self._what)

    def close(self) -> None:
        """Give the compiled head back."""
        self._parts = None
        if self._stage is not None:
            self._stage.close()


class _Selected:
    """The head for one stretch, with the convolutions' results for snippets that lie away from the window's borders."""

    def __init__(self, select: Part, rest: Part, lock: threading.Lock, what: str) -> None:
        self._select, self._rest, self._lock, self._what = select, rest, lock, what
        self._rows: Array = np.zeros((0, 0), np.float32)  # [n, 8d], of the snippets before `_end`
        self._end = 0

    def scores(self, features: Features, first: int, length: int) -> np.ndarray:
        """See `window.Head`."""
        with self._lock:
            largest = self._largest(features, first)
            feeds = {**features, "length": np.array([length], np.int64)}
            (scores,) = self._rest(feeds, [largest])
        return finite_scores(scores, self._what)

    def _largest(self, features: Features, first: int) -> Array:
        """The largest result of the convolutions over the window: float32 [1, 8d]."""
        snippets = len(next(iter(features.values())))
        begin = max(self._end - SELECTION_HALO - first, 0)
        computed = self._convolved(features, begin, snippets)
        certain = computed[SELECTION_HALO:-SELECTION_HALO]
        if begin == 0:  # nothing was kept of this window
            self._rows, largest = certain, computed.max(axis=0)
        else:
            kept = self._rows[first + SELECTION_HALO - self._end :]
            self._rows = np.concatenate((kept, certain))
            border = self._convolved(features, 0, 2 * SELECTION_HALO)[:SELECTION_HALO]
            largest = np.max([part.max(axis=0) for part in (border, self._rows, computed[-SELECTION_HALO:])], axis=0)
        self._end = first + snippets - SELECTION_HALO
        return largest[None]

    def _convolved(self, features: Features, start: int, stop: int) -> Array:
        """The convolutions' results for some of the window's snippets as if they were all: float32 [n, 8d]."""
        (found,) = self._select({name: rows[start:stop] for name, rows in features.items()})
        return found[0].T

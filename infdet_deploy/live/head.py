"""The head of a bundle, compiled once and shared by all cameras."""

import threading

import numpy as np

from infdet_deploy.live.window import Features, Head
from infdet_deploy.runtime.bundle import Bundle
from infdet_deploy.runtime.pipeline import head_scores, open_bundle_stage


class LiveHead:
    """A bundle's head: `session()` gives each stretch of frames a function to run it. Sessions may run in any thread.

    Raises BackendError or UsageError when the backend will not do.
    """

    def __init__(self, bundle: Bundle, backend: str = "openvino", precision: str = "float32") -> None:
        self._stage = open_bundle_stage(bundle, "head", backend, precision)
        self._what = f"{backend} {precision}"
        self._lock = threading.Lock()

    def session(self) -> Head:
        return self._scores

    def _scores(self, features: Features, first: int, length: int) -> np.ndarray:
        with self._lock:
            return head_scores(self._stage, features, length, self._what)

    def close(self) -> None:
        self._stage.close()

"""The head of a bundle, compiled once and shared by all cameras."""

import threading

import numpy as np

from infdet_deploy.errors import InfdetError
from infdet_deploy.live.window import Features, Head
from infdet_deploy.runtime.bundle import Bundle
from infdet_deploy.runtime.pipeline import open_bundle_stage


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
        feeds = {**features, "length": np.array([length], np.int64)}
        with self._lock:
            scores = self._stage.run(feeds)["scores"]
        if not np.isfinite(scores).all():
            raise InfdetError(f"{self._what} gave scores that are not numbers; try float32")
        return scores

    def close(self) -> None:
        self._stage.close()

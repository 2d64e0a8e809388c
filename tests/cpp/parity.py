"""Parts of the C++ library that have no function in infdet.h, through cpp/tests/parity.cpp."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.detections import DetectionRule
from infdet_deploy.video.preparation import Preparation
from tests.cpp.library import Detection

_SIZE, _INT, _DOUBLE, _POINTER = ctypes.c_size_t, ctypes.c_int, ctypes.c_double, ctypes.c_void_p
_RULE = (_POINTER, _POINTER, _INT, _INT)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "parity_accepts": (_INT, ctypes.c_char_p, ctypes.c_char_p, _SIZE),
    "parity_prepare": (
        _SIZE, _POINTER, _POINTER, _SIZE, _SIZE, _SIZE, _SIZE, _INT, _INT, _INT, _DOUBLE, _INT, _POINTER, _POINTER,
        _SIZE,
    ),
    "parity_resize16": (None, _POINTER, _SIZE, _SIZE, _SIZE, _INT, _POINTER),
    "parity_detect": (_SIZE, _POINTER, _SIZE, _SIZE, *_RULE, _SIZE, _DOUBLE, _POINTER),
    "parity_decisions": (_POINTER, _SIZE, *_RULE),
    "parity_decide": (_SIZE, _POINTER, _POINTER, _SIZE, _SIZE, ctypes.c_int64, _DOUBLE, _INT, _POINTER),
    "parity_forget": (None, _POINTER),
}  # fmt: skip

Found = list[tuple[int, float, float, float]]


class Parity:
    """The functions of parity.cpp with arrays; detections are (class, start, end, score)."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments

    def accepts(self, bundle: Path) -> tuple[bool, str]:
        """Whether the library accepts a bundle, and its message if not."""
        why = ctypes.create_string_buffer(4096)
        accepted = self._library.parity_accepts(os.fsencode(bundle), why, len(why))
        return bool(accepted), why.value.decode("utf-8", "replace")

    def prepare(
        self, pictures: NDArray[Any], times_s: NDArray[np.float64], steps: Preparation, causal: bool, most: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Frames and their times; at most `most` of them."""
        assert steps.size is not None
        pictures, times_s = np.ascontiguousarray(pictures), np.ascontiguousarray(times_s)
        frames, shown = np.zeros((most, steps.size, steps.size), np.uint8), np.zeros(most)
        count = self._library.parity_prepare(
            pictures.ctypes.data, times_s.ctypes.data, pictures.itemsize, *pictures.shape, steps.size,
            steps.mode == "crop", steps.levels == "background", steps.frame_rate or 0.0, causal, frames.ctypes.data,
            shown.ctypes.data, most,
        )  # fmt: skip
        assert count <= most
        return frames[:count], shown[:count]

    def resize16(self, frame: NDArray[np.uint16], size: int, mode: str) -> NDArray[np.uint16]:
        resized = np.zeros((size, size), np.uint16)
        frame = np.ascontiguousarray(frame)
        self._library.parity_resize16(frame.ctypes.data, *frame.shape, size, mode == "crop", resized.ctypes.data)
        return resized

    def detect(self, scores: NDArray[np.float32], rule: DetectionRule, frames: int, fps: float) -> Found:
        found, given = (Detection * (2 * scores.size))(), _Rule(rule)
        count = self._library.parity_detect(
            scores.ctypes.data, *scores.shape, *given.arguments, frames, fps, found
        )  # fmt: skip
        return _tuples(found, count)

    def decisions(self, rule: DetectionRule) -> Callable[[NDArray[np.float32], int, float, bool], Found]:
        """`decide(scores, first, snippets per second, final)` of one stream."""
        given = _Rule(rule)
        stream = self._library.parity_decisions(len(rule.thresholds), *given.arguments)

        def decide(scores: NDArray[np.float32], first: int, sps: float, final: bool) -> Found:
            scores, found = np.ascontiguousarray(scores), (Detection * (2 * scores.size))()
            count = self._library.parity_decide(stream, scores.ctypes.data, *scores.shape, first, sps, final, found)
            if final:
                self._library.parity_forget(stream)
            return _tuples(found, count)

        return decide


class _Rule:
    """A rule as arguments, whose arrays live as long as this object."""

    def __init__(self, rule: DetectionRule) -> None:
        self._arrays = np.array(rule.thresholds, np.float64), np.array(rule.mean_duration_s, np.float64)
        self.arguments = (
            *(array.ctypes.data for array in self._arrays), rule.split_long, rule.ends == "interpolated"
        )  # fmt: skip


def _tuples(found: Any, count: int) -> Found:
    return [(one.class_index, one.start_s, one.end_s, one.score) for one in found[:count]]

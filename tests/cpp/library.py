"""libinfdet through ctypes: the declarations of infdet.h, with arrays instead of pointers."""

import ctypes
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OK, NOTHING, ARGUMENT, HANDLE, BUNDLE, BACKEND, FRAMES, STATE = range(8)


class Options(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t), ("backend", ctypes.c_char_p), ("precision", ctypes.c_char_p),
        ("chunk_snippets", ctypes.c_int32), ("threads", ctypes.c_int32), ("live", ctypes.c_int32),
    )  # fmt: skip


class Detection(ctypes.Structure):
    _fields_ = (
        ("start_s", ctypes.c_double), ("end_s", ctypes.c_double), ("score", ctypes.c_double),
        ("class_index", ctypes.c_int32), ("reserved", ctypes.c_int32),
    )  # fmt: skip


class Info(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t), ("size", ctypes.c_int32), ("class_count", ctypes.c_int32),
        ("min_frames", ctypes.c_int32), ("recognition", ctypes.c_int32),
    )  # fmt: skip


_SIZES, _POINTER = (ctypes.c_size_t,) * 3, ctypes.c_void_p
_ARGUMENTS = {
    "infdet_init_options": (ctypes.POINTER(Options), ctypes.c_size_t),
    "infdet_open": (ctypes.c_char_p, ctypes.POINTER(Options), ctypes.POINTER(_POINTER)),
    "infdet_close": (_POINTER,),
    "infdet_describe": (_POINTER, ctypes.POINTER(Info)),
    "infdet_class_name": (_POINTER, ctypes.c_int32),
    "infdet_detect": (
        _POINTER, _POINTER, *_SIZES, ctypes.c_double, ctypes.POINTER(ctypes.POINTER(Detection)),
        ctypes.POINTER(ctypes.c_size_t),
    ),
    "infdet_free_detections": (ctypes.POINTER(Detection),),
    "infdet_open_stream": (_POINTER, ctypes.c_double, ctypes.POINTER(_POINTER)),
    "infdet_open_live": (_POINTER, ctypes.c_double, ctypes.c_double, ctypes.c_int32, ctypes.POINTER(_POINTER)),
    "infdet_push": (_POINTER, _POINTER, *_SIZES),
    "infdet_push_timed": (_POINTER, _POINTER, *_SIZES, _POINTER),
    "infdet_push16": (_POINTER, _POINTER, *_SIZES, _POINTER),
    "infdet_flush": (_POINTER,),
    "infdet_poll": (_POINTER, ctypes.POINTER(Detection)),
    "infdet_close_stream": (_POINTER,),
    "infdet_resize": (_POINTER, *_SIZES, ctypes.c_size_t, ctypes.c_char_p, _POINTER),
}  # fmt: skip


def load(path: Path) -> ctypes.CDLL:
    """Load the library and declare its functions."""
    library = ctypes.CDLL(str(path))
    for name, arguments in _ARGUMENTS.items():
        getattr(library, name).argtypes = arguments
    for name in ("infdet_last_error", "infdet_version", "infdet_class_name"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


class Failed(Exception):
    """A failed call: its status and the library's message."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Native:
    """The functions of infdet.h; a failure raises Failed."""

    def __init__(self, path: Path) -> None:
        self.library = load(path)

    def call(self, name: str, *arguments: object) -> None:
        status = getattr(self.library, name)(*arguments)
        if status != OK:
            raise Failed(status, self.library.infdet_last_error().decode())

    def options(self, **values: object) -> Options:
        options = Options()
        self.call("infdet_init_options", options, ctypes.sizeof(Options))
        for name, value in values.items():
            setattr(options, name, value.encode() if isinstance(value, str) else value)
        return options

    def open(self, bundle: Path | str, **options: object) -> int:
        model = _POINTER()
        self.call("infdet_open", str(bundle).encode(), self.options(**options), model)
        assert model.value
        return model.value

    def close(self, model: int) -> None:
        self.call("infdet_close", model)

    def detect(self, model: int, frames: NDArray[np.uint8], fps: float) -> list[tuple[str, float, float, float]]:
        """frames: uint8 [T, H, W]. Returns (label, start, end, score) tuples."""
        found, count = ctypes.POINTER(Detection)(), ctypes.c_size_t()
        frames = np.ascontiguousarray(frames)
        self.call("infdet_detect", model, frames.ctypes.data, *frames.shape, fps, found, count)
        result = [self._named(model, found[i]) for i in range(count.value)]
        self.call("infdet_free_detections", found)
        return result

    def open_stream(self, model: int, fps: float) -> int:
        stream = _POINTER()
        self.call("infdet_open_stream", model, fps, stream)
        assert stream.value
        return stream.value

    def open_live(self, model: int, fps: float, window_s: float = 120.0, every: int = 4) -> int:
        stream = _POINTER()
        self.call("infdet_open_live", model, fps, window_s, every, stream)
        assert stream.value
        return stream.value

    def push(
        self, stream: int, frames: NDArray[np.uint8 | np.uint16], times_s: NDArray[np.float64] | None = None
    ) -> None:
        """By the function for this type, with times if there are any."""
        frames = np.ascontiguousarray(frames)
        arguments = (stream, frames.ctypes.data, *frames.shape)
        if times_s is not None:
            times_s = np.ascontiguousarray(times_s, np.float64)
        times = None if times_s is None else times_s.ctypes.data
        if frames.dtype == np.uint16:
            self.call("infdet_push16", *arguments, times)
        elif times_s is not None:
            self.call("infdet_push_timed", *arguments, times)
        else:
            self.call("infdet_push", *arguments)

    def polled(self, model: int, stream: int) -> list[tuple[str, float, float, float]]:
        """All waiting detections."""
        result, one = [], Detection()
        while (status := self.library.infdet_poll(stream, one)) == OK:
            result.append(self._named(model, one))
        assert status == NOTHING
        return result

    def resize(self, frames: NDArray[np.uint8], size: int, mode: str) -> NDArray[np.uint8]:
        frames = np.ascontiguousarray(frames)
        resized = np.empty((len(frames), size, size), np.uint8)
        self.call("infdet_resize", frames.ctypes.data, *frames.shape, size, mode.encode(), resized.ctypes.data)
        return resized

    def _named(self, model: int, found: Detection) -> tuple[str, float, float, float]:
        name = self.library.infdet_class_name(model, found.class_index)
        return name.decode(), found.start_s, found.end_s, found.score

"""Arrays on a GPU, as seen through `__cuda_array_interface__`, and the streams that other libraries hand over."""

from math import prod
from typing import Any

import numpy as np

from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.backends.tensorrt.device import cuda, done


class DeviceArray:
    """C-contiguous device memory that something else owns: its pointer, shape and dtype.

    stream: the CUDA stream that fills it, where that may not be over yet. PyCUDA, CuPy and torch take it as it is.
    """

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: np.dtype, stream: int | None = None) -> None:
        self.pointer, self.shape, self.dtype, self.stream = pointer, shape, np.dtype(dtype), stream

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape, "typestr": self.dtype.str, "data": (self.pointer, False), "version": 3,
            "strides": None, "stream": self.stream,
        }  # fmt: skip

    def __getitem__(self, rows: slice) -> "DeviceArray":
        """Consecutive rows along the first axis, of the same memory."""
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise BackendError(f"rows of an array on the GPU are taken in steps of 1, not {step}")
        row = prod(self.shape[1:]) * self.dtype.itemsize
        return DeviceArray(self.pointer + start * row, (max(stop - start, 0), *self.shape[1:]), self.dtype, self.stream)

    def clear(self) -> None:
        """Make every element 0."""
        done(cuda().cudaMemset(self.pointer, 0, self.nbytes))

    def to_host(self) -> np.ndarray:
        """A copy in host memory, once the stream that fills the array is done."""
        api, array = cuda(), np.empty(self.shape, self.dtype)
        if self.stream:
            done(api.cudaStreamSynchronize(self.stream))
        done(api.cudaMemcpy(array.ctypes.data, self.pointer, self.nbytes, api.cudaMemcpyKind.cudaMemcpyDeviceToHost))
        return array


def device_view(array: Any) -> DeviceArray | None:
    """An array on a GPU as DeviceArray; None for anything without `__cuda_array_interface__`.

    Raises BackendError for one that is not C-contiguous.
    """
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        return None
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    strides = interface.get("strides")
    if strides is not None and prod(shape) and tuple(strides) != _contiguous(shape, dtype.itemsize):
        raise BackendError(f"an array on the GPU has strides {list(strides)}; make it C-contiguous first")
    return DeviceArray(interface["data"][0], shape, dtype, interface.get("stream"))


def stream_handle(stream: Any) -> int:
    """The handle of a CUDA stream: an integer, or a stream of PyCUDA, CuPy, torch or cuda.core.

    Raises BackendError for anything else.
    """
    if hasattr(stream, "__cuda_stream__"):  # (version, handle); a method, in early versions a property
        told = stream.__cuda_stream__
        return int((told() if callable(told) else told)[1])
    for name in ("cuda_stream", "ptr", "handle"):  # torch, CuPy, PyCUDA
        if hasattr(stream, name):
            return int(getattr(stream, name))
    try:
        return int(stream)
    except (TypeError, ValueError):
        raise BackendError(
            f"a CUDA stream is expected, or its handle as an integer, not {type(stream).__name__}"
        ) from None


def _contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))

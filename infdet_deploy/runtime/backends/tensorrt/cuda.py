"""CUDA through cuda-python: this process's GPU, arrays in its memory, and streams of other libraries."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from infdet_deploy.errors import BackendError, missing_package


def cuda() -> Any:
    """The module of CUDA's runtime calls. Raises InfdetError if cuda-python is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise missing_package("cuda-python", "tensorrt", "TensorRT") from None
    return runtime


def check(result: tuple[Any, ...]) -> Any:
    """The values of a CUDA call without its status. Raises BackendError with CUDA's name of an error."""
    status, *values = result
    if status.value:
        raise BackendError(f"CUDA: {status.name}")
    return values[0] if len(values) == 1 else tuple(values)


def current_device() -> tuple[str, str]:
    """The GPU's name and compute capability, such as `8.6`. Raises BackendError without a GPU or a driver."""
    runtime = cuda()
    try:
        properties = check(runtime.cudaGetDeviceProperties(check(runtime.cudaGetDevice())))
    except (BackendError, RuntimeError) as error:  # without a driver, cuda-python raises RuntimeError
        reason = str(error).removeprefix("CUDA: ").splitlines()[0]
        raise BackendError(f"this machine has no NVIDIA GPU that CUDA can use ({reason})") from None
    name = properties.name
    text = name.decode() if isinstance(name, bytes) else str(name)
    return text.rstrip("\0"), f"{properties.major}.{properties.minor}"


class DeviceArray:
    """A C-contiguous array in GPU memory that another object owns. PyCUDA, CuPy and torch accept it without a copy.

    stream: handle of the CUDA stream that fills the array; None if the array is ready.
    """

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: npt.DTypeLike, stream: int | None = None) -> None:
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
        """Consecutive rows along the first axis, in the same memory."""
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise BackendError(f"a slice of an array on the GPU needs step 1, not {step}")
        row = prod(self.shape[1:]) * self.dtype.itemsize
        return DeviceArray(self.pointer + start * row, (max(stop - start, 0), *self.shape[1:]), self.dtype, self.stream)

    def clear(self) -> None:
        """Set every element to 0."""
        check(cuda().cudaMemset(self.pointer, 0, self.nbytes))

    def to_host(self) -> npt.NDArray[Any]:
        """A copy in host memory. Waits for the stream that fills the array."""
        api, array = cuda(), np.empty(self.shape, self.dtype)
        if self.stream:
            check(api.cudaStreamSynchronize(self.stream))
        check(api.cudaMemcpy(array.ctypes.data, self.pointer, self.nbytes, api.cudaMemcpyKind.cudaMemcpyDeviceToHost))
        return array


def device_view(array: Any) -> DeviceArray | None:
    """Any array with `__cuda_array_interface__` as a DeviceArray; None for other objects.

    Raises BackendError if the array is not C-contiguous.
    """
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        return None
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    strides = interface.get("strides")
    contiguous = tuple(prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape)))
    if strides is not None and prod(shape) and tuple(strides) != contiguous:
        raise BackendError(f"an array on the GPU has strides {list(strides)}; make it C-contiguous first")
    return DeviceArray(interface["data"][0], shape, dtype, interface.get("stream"))


def stream_handle(stream: Any) -> int:
    """The handle of a CUDA stream: an integer, or a stream of PyCUDA, CuPy, torch or cuda.core.

    Raises BackendError for other objects.
    """
    if hasattr(stream, "__cuda_stream__"):  # (version, handle): a method, or a property in early versions
        pair = stream.__cuda_stream__
        return int((pair() if callable(pair) else pair)[1])
    for name in ("cuda_stream", "ptr", "handle"):  # torch, CuPy, PyCUDA
        if hasattr(stream, name):
            return int(getattr(stream, name))
    try:
        return int(stream)
    except (TypeError, ValueError):
        raise BackendError(
            f"a CUDA stream or its handle as an integer is expected, not {type(stream).__name__}"
        ) from None

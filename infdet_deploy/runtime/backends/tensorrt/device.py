"""CUDA through cuda-python: which GPU this is, and calls whose failure is one line."""

from dataclasses import dataclass
from typing import Any

from infdet_deploy.errors import BackendError, missing_package


@dataclass(frozen=True)
class Device:
    """The GPU that this process uses: its name, and its compute capability such as `8.6`."""

    name: str
    capability: str


def cuda() -> Any:
    """The module of CUDA's runtime calls; raises InfdetError where cuda-python is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise missing_package("cuda-python", "tensorrt", "TensorRT") from None
    return runtime


def done(result: tuple[Any, ...]) -> Any:
    """What a CUDA call gave, without its status; raises BackendError with CUDA's name for what went wrong."""
    status, *values = result
    if status.value:
        raise BackendError(f"CUDA: {status.name}")
    return values[0] if len(values) == 1 else tuple(values)


def current_device() -> Device:
    """The GPU in use; raises BackendError where there is none, or no driver."""
    runtime = cuda()
    try:
        properties = done(runtime.cudaGetDeviceProperties(done(runtime.cudaGetDevice())))
    except (BackendError, RuntimeError) as error:  # a RuntimeError where there is no driver at all
        reason = str(error).removeprefix("CUDA: ").splitlines()[0]
        raise BackendError(f"this machine has no NVIDIA GPU that CUDA can use ({reason})") from None
    name = properties.name
    text = name.decode() if isinstance(name, bytes) else str(name)
    return Device(text.rstrip("\0"), f"{properties.major}.{properties.minor}")

"""What every inference backend offers, and how to get one by name."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from infdet_deploy.errors import BackendError, InfdetError, UsageError, first_line, missing_package
from infdet_deploy.system import adds_bytes_exactly

# name → (package to look for, what `pip install infdet-deploy[…]` brings it, precisions it can compute in)
BACKENDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "openvino": ("openvino", "", ("float32", "bfloat16", "float16", "int8")),
    "onnxruntime": ("onnxruntime", "onnxruntime", ("float32", "float16", "int8")),
    "torchscript": ("torch", "export", ("float32", "bfloat16", "float16")),
    "tensorrt": ("tensorrt", "tensorrt", ("float32", "bfloat16", "float16", "int8")),
}
# Backends that compile nothing when a stage is opened: they run what `infdet-deploy build` has built beforehand.
BUILT_AHEAD = ("tensorrt",)
# Backends that are faster where they know the shapes of all inputs as they compile.
FIXED_SHAPES = ("openvino",)
# Backends that keep what they compiled.
CACHED = ("openvino",)
# Backends whose int8 is wrong on processors that saturate sums of bytes; what others make of their file there is right.
SATURATED = ("openvino",)
_INSTEAD = "take float32, or the backend onnxruntime, which is no faster in int8"
# What a stage is tuned for: the least time of one call on all CPUs, or the most calls in all, several at once.
PERFORMANCE = ("latency", "throughput")
# Backends that can be tuned for throughput.
SEVERAL_AT_ONCE = ("openvino", "onnxruntime")


class Backend(Protocol):
    """One compiled stage. Calls may not overlap, except where it has `at_once`: then so many may."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs; `feeds` holds every input, C-contiguous, in the stage's dtype and shape."""

    def close(self) -> None:
        """Give the compiled graph back; the object cannot run any more."""


def stage_format(backend: str) -> str:
    """The bundle's file format that a backend reads."""
    return "torchscript" if backend == "torchscript" else "onnx"


def takes(backend: str, precision: str) -> bool:
    """Whether a backend computes graphs of this precision, and on this processor rightly."""
    return precision in BACKENDS[backend][2] and not _saturates(backend, precision)


def check_takes(backend: str, precision: str, instead: str = _INSTEAD) -> None:
    """Raise UsageError for an unknown backend or one that never computes in the precision, BackendError where it does
    not on this processor.

    instead: what to do there.
    """
    if backend not in BACKENDS:
        raise UsageError(f"no backend '{backend}'; backends are {', '.join(BACKENDS)}")
    if precision not in BACKENDS[backend][2]:
        raise UsageError(f"{backend} takes {', '.join(BACKENDS[backend][2])}, not {precision}")
    if _saturates(backend, precision):
        raise BackendError(
            f"this processor has no VNNI, without which {backend} cuts off sums of int8 products; {instead}"
        )


def _saturates(backend: str, precision: str) -> bool:
    return backend in SATURATED and precision == "int8" and not adds_bytes_exactly()


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"infdet_deploy.runtime.backends.{name}{'.runner' if name == 'tensorrt' else ''}")


def available(name: str) -> bool:
    """Whether the backend's package is installed."""
    return importlib.util.find_spec(BACKENDS[name][0]) is not None


def ready(name: str, path: Path, precision: str) -> bool:
    """Whether this machine can open the stage at `path` with the backend: for one that is built ahead, an engine is."""
    if not available(name) or name not in BUILT_AHEAD:
        return available(name)
    try:
        return _module(name).built(path, precision)
    except (InfdetError, ImportError):  # no GPU, or a package that does not load
        return False


def open_kept(
    backend: str,
    precision: str,
    digest: str | None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    performance: str,
) -> Backend | None:
    """The stage of the file with this SHA-256 as an earlier start compiled it, without that file; None where there is
    none, or what is asked for is wrong, which `open_stage` tells."""
    if backend not in CACHED or not takes(backend, precision) or performance not in PERFORMANCE or digest is None:
        return None
    module = _module(backend)
    return module.open_kept(digest, inputs, outputs, None, performance)


def check_performance(backend: str, performance: str) -> None:
    """Raise UsageError where the backend cannot be tuned so."""
    if performance not in PERFORMANCE:
        raise UsageError(f"no performance '{performance}'; expected {' or '.join(PERFORMANCE)}")
    if performance == "throughput" and backend not in SEVERAL_AT_ONCE:
        raise UsageError(f"{backend} has no throughput mode; {' and '.join(SEVERAL_AT_ONCE)} have one")


def open_stage(
    backend: str,
    path: Path,
    precision: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    digest: str | None = None,
    performance: str = "latency",
) -> Backend:
    """Compile the stage at `path`.

    shapes: of inputs, where they never vary; a backend that is faster for one shape then takes no other. digest: the
    file's SHA-256, where it was checked; a backend may then keep what it compiled (`compiled_cache.py`). performance:
    of `PERFORMANCE`. Raises UsageError for an unknown backend or performance, and BackendError when the backend is not
    installed, computes wrongly in this precision on this processor, or refuses the graph.
    """
    check_takes(backend, precision)
    package, extra, _ = BACKENDS[backend]
    check_performance(backend, performance)
    if not available(backend):
        raise missing_package(package, extra, f"backend {backend}")
    try:
        module = _module(backend)
        options: dict[str, object] = {"shapes": shapes} if shapes and backend in FIXED_SHAPES else {}
        if digest and backend in CACHED:
            options["digest"] = digest
        if performance != "latency":
            options["performance"] = performance
        return module.open_stage(path, precision, inputs, outputs, **options)
    except InfdetError:
        raise
    except Exception as error:
        raise BackendError(f"{backend} refuses {path.name}: {first_line(error)}") from error

"""The interface of an inference backend: what it supports, how it opens a stage, how a compiled stage runs.

A backend is one class. Backends from other packages register an instance of theirs under the entry point group
`infdet_deploy.backends` (see `registry.py`).
"""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy.typing as npt

from infdet_deploy.errors import BackendError, InfdetError, UsageError, first_line, missing_package
from infdet_deploy.system import has_exact_int8

Array = npt.NDArray[Any]
Format = Literal["onnx", "torchscript"]
# What a stage is tuned for: the shortest time of one call on all CPUs, or the most concurrent calls per second.
Performance = Literal["latency", "throughput"]
PERFORMANCE: tuple[Performance, ...] = get_args(Performance)
DEFAULT_BACKEND = "openvino"
_INT8_REMEDY = "use float32, or the backend onnxruntime, which is no faster in int8"


@dataclass(frozen=True)
class Capabilities:
    """What a backend supports.

    package: the Python package that it imports. extra: the extra of infdet-deploy that installs it, if any. format: the
    bundle's file format that it reads. built_ahead: it runs engines that `infdet-deploy build` made on this device.
    fixed_shapes: it is faster if the shapes of all inputs are known when it compiles. caches: it keeps compiled stages
    between processes. throughput: it can be tuned to run several calls at once. int8_needs_vnni: its int8 overflows on
    x86 processors without VNNI. on_gpu: it computes on an NVIDIA GPU and can leave outputs there.
    """

    package: str
    precisions: tuple[str, ...]
    extra: str = ""
    format: Format = "onnx"
    built_ahead: bool = False
    fixed_shapes: bool = False
    caches: bool = False
    throughput: bool = False
    int8_needs_vnni: bool = False
    on_gpu: bool = False


@dataclass(frozen=True)
class StageSource:
    """A stage to compile: its file and its use.

    digest: the file's SHA-256, if checked; a backend needs it to cache the compiled stage. shapes: shapes of the inputs
    if they never vary; a backend with `fixed_shapes` then accepts no others. fixed: the same stage in another file,
    which is faster if its `shapes` are set.
    """

    path: Path
    precision: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    digest: str | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    performance: Performance = "latency"
    fixed: "StageSource | None" = None


class CompiledStage(ABC):
    """One compiled stage. At most `concurrency` calls of `run` may overlap. what: for messages, set by `open_stage`."""

    concurrency: int = 1
    what = "the backend"

    def __init__(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.inputs, self.outputs = inputs, outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs. feeds: every input, C-contiguous, in the stage's dtype and shape.

        Raises BackendError for whatever fails in the backend, such as too little memory.
        """
        try:
            return self.compute(feeds)
        except InfdetError:
            raise
        except Exception as error:
            shapes = ", ".join(f"{name} {list(feed.shape)}" for name, feed in feeds.items())
            raise BackendError(
                f"{self.what} fails on {shapes}: {first_line(error)}; if memory is short, close other programs or give "
                "fewer --jobs"
            ) from error

    @abstractmethod
    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """As `run`; any exception counts as a failure of the backend."""

    def run_on_device(self, feeds: Mapping[str, Any], cuda_stream: Any = None) -> Mapping[str, Any]:
        """Compute all outputs and leave them on the GPU; only for backends with `on_gpu`."""
        raise NotImplementedError

    def release_memory(self) -> None:  # noqa: B027 - most backends keep nothing between runs
        """Free buffers that the backend keeps between runs; the next run allocates them again."""

    @abstractmethod
    def close(self) -> None:
        """Free the compiled graph; the object cannot run any more."""


class Backend(ABC):
    """An inference backend, known by `name`. Importing its module must not import `capabilities.package`."""

    name: str
    capabilities: Capabilities

    @abstractmethod
    def compile(self, source: StageSource) -> CompiledStage:
        """Compile a stage. Any exception counts as a refusal of the graph."""

    def load_cached(self, source: StageSource) -> CompiledStage | None:
        """The stage as an earlier process cached it, without reading its file; None if it is not cached.

        Only called with `caches` and for sources with a digest.
        """
        return None

    def is_built(self, path: Path, precision: str) -> bool:
        """Whether an engine of the stage at `path` exists for this device; only called with `built_ahead`."""
        return True

    def is_available(self) -> bool:
        """Whether the backend's package is installed."""
        return importlib.util.find_spec(self.capabilities.package) is not None

    def is_ready(self, path: Path, precision: str) -> bool:
        """Whether this machine can open the stage at `path`: installed and, with `built_ahead`, built."""
        if not self.is_available() or not self.capabilities.built_ahead:
            return self.is_available()
        try:
            return self.is_built(path, precision)
        except (InfdetError, ImportError):  # no GPU, or a package that does not load
            return False

    def supports(self, precision: str) -> bool:
        """Whether the backend computes correctly in this precision on this processor."""
        return precision in self.capabilities.precisions and not self._overflows(precision)

    def check_supports(self, precision: str, remedy: str = _INT8_REMEDY) -> None:
        """Raise UsageError for a precision that the backend lacks, BackendError if it is wrong on this processor.

        remedy: what the BackendError suggests.
        """
        if precision not in self.capabilities.precisions:
            raise UsageError(f"{self.name} supports {', '.join(self.capabilities.precisions)}, not {precision}")
        if self._overflows(precision):
            raise BackendError(
                f"this processor has no VNNI, without which sums of int8 products overflow in {self.name}; {remedy}"
            )

    def _overflows(self, precision: str) -> bool:
        return precision == "int8" and self.capabilities.int8_needs_vnni and not has_exact_int8()

    def check_performance(self, performance: str) -> None:
        """Raise UsageError if the backend cannot be tuned for this performance."""
        if performance not in PERFORMANCE:
            raise UsageError(f"no performance '{performance}'; expected {' or '.join(PERFORMANCE)}")
        if performance == "throughput" and not self.capabilities.throughput:
            raise UsageError(f"{self.name} has no throughput mode; use {DEFAULT_BACKEND}, or leave performance out")

    def open_stage(self, source: StageSource) -> CompiledStage:
        """Compile a stage, or load it from the backend's cache.

        Raises UsageError for a precision or performance that the backend does not support, BackendError if it is not
        installed, computes wrongly on this processor or refuses the graph.
        """
        self.check_supports(source.precision)
        self.check_performance(source.performance)
        if not self.is_available():
            raise missing_package(self.capabilities.package, self.capabilities.extra, f"backend {self.name}")
        if not self.capabilities.fixed_shapes:
            source = replace(source, shapes=None)
        try:
            stage = self.open_cached(source) or self.compile(source)
        except InfdetError:
            raise
        except Exception as error:
            raise BackendError(f"{self.name} refuses {source.path.name}: {first_line(error)}") from error
        stage.what = f"{self.name} {source.path.name}"
        return stage

    def open_cached(self, source: StageSource) -> CompiledStage | None:
        """The stage from the backend's cache; None if it is not cached or `open_stage` would refuse it."""
        usable = self.capabilities.caches and source.digest is not None and source.performance in PERFORMANCE
        return self.load_cached(source) if usable and self.supports(source.precision) else None

"""Runs TensorRT engines from the engine cache on an NVIDIA GPU.

A stage owns one device buffer for each input and output, sized for the longest clip of its engine. For each combination
of input shapes it records a CUDA graph once and launches it in later runs. `run` returns host arrays, `run_on_device`
leaves outputs on the GPU. Both accept host arrays and objects with `__cuda_array_interface__` (PyCUDA, CuPy, torch,
another stage's output).
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorrt as trt

from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.backends.base import CompiledStage, StageSource
from infdet_deploy.runtime.backends.tensorrt import engine_cache
from infdet_deploy.runtime.backends.tensorrt.cuda import (
    DeviceArray,
    check,
    cuda,
    current_device,
    device_view,
    stream_handle,
)
from infdet_deploy.runtime.backends.tensorrt.engine import logger, reported

DEFAULT_STREAM = 1  # CUDA's default stream in `__cuda_array_interface__`
MAX_GRAPHS = 8  # graphs kept by a stage; the least recently used is dropped first

Shapes = tuple[tuple[int, ...], ...]
_Array = DeviceArray | npt.NDArray[Any]


@dataclass(frozen=True)
class _Recorded:
    """A context set up for one combination of input shapes, and the CUDA graph of its work.

    graph: None if the engine cannot be recorded; then the context is enqueued.
    """

    context: Any
    graph: Any
    output_shapes: dict[str, tuple[int, ...]]


class TensorRtStage(CompiledStage):
    """An engine with its buffers. Outputs on the GPU are valid until the next run.

    remedy: what to do about a shape outside the engine's profile, for the message.
    """

    def __init__(self, engine: Any, inputs: tuple[str, ...], outputs: tuple[str, ...], remedy: str) -> None:
        super().__init__(inputs, outputs)
        self._cuda, self._engine, self._remedy = cuda(), engine, remedy
        self._graphs: OrderedDict[Shapes, _Recorded] = OrderedDict()
        self._resources = ExitStack()  # the stream and device memory, freed in reverse order
        try:
            self._stream = int(check(self._cuda.cudaStreamCreate()))
            self._resources.callback(self._cuda.cudaStreamDestroy, self._stream)
            # Contexts never run at the same time, so they share their scratch memory.
            self._scratch_bytes = int(engine.device_memory_size_v2)
            self._scratch = self._allocate(self._scratch_bytes)
            context = self._context([self._range(name)[1] for name in inputs])
            if context.infer_shapes():
                raise BackendError("TensorRT does not know the shapes of the outputs; build the engine again")
            self._dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in (*inputs, *outputs)}
            self._buffers = {
                name: self._allocate(prod(tuple(context.get_tensor_shape(name))) * dtype.itemsize)
                for name, dtype in self._dtypes.items()
            }
        except BaseException:
            self.close()
            raise

    def compute(self, feeds: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Compute all outputs as host arrays. feeds: host arrays, arrays on the GPU, or both."""
        return {name: output.to_host() for name, output in self.run_on_device(feeds).items()}

    def run_on_device(self, feeds: Mapping[str, Any], cuda_stream: Any = None) -> dict[str, DeviceArray]:
        """Compute all outputs and leave them in the stage's buffers on the GPU.

        cuda_stream: the CUDA stream to work on: an integer handle, or a stream of PyCUDA, CuPy, torch or cuda.core.
        The call then only enqueues, and host arrays must not change until the stream has copied them. Without a stream,
        outputs are ready when the call returns.
        Raises BackendError for a feed of the wrong dtype, shape or GPU.
        """
        queue = self._stream if cuda_stream is None else stream_handle(cuda_stream)
        arrays = {name: _array(feeds[name]) for name in self.inputs}
        shapes = tuple(self._check(name, arrays[name]) for name in self.inputs)
        for name in self.inputs:
            self._feed(name, arrays[name], queue)
        recorded = self._graphs.pop(shapes, None) or self._record(shapes, queue)
        self._graphs[shapes] = recorded
        if recorded.graph is not None:
            check(self._cuda.cudaGraphLaunch(recorded.graph, queue))
        elif not recorded.context.execute_async_v3(queue):
            raise _error("TensorRT")
        if cuda_stream is None:
            check(self._cuda.cudaStreamSynchronize(queue))
        pending = None if cuda_stream is None else queue or DEFAULT_STREAM
        return {
            name: DeviceArray(self._buffers[name], shape, self._dtypes[name], pending)
            for name, shape in recorded.output_shapes.items()
        }

    def close(self) -> None:
        """Free graphs, contexts and device memory."""
        while self._graphs:
            self._drop(self._graphs.popitem()[1])
        self._resources.close()
        self._engine = None

    def _allocate(self, size: int) -> int:
        if not size:
            return 0
        pointer = int(check(self._cuda.cudaMalloc(size)))
        self._resources.callback(self._cuda.cudaFree, pointer)
        return pointer

    def _context(self, shapes: Iterable[tuple[int, ...]]) -> Any:
        """An execution context for these shapes of the inputs."""
        context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise _error("TensorRT creates no execution context")
        if self._scratch:
            context.set_device_memory(self._scratch, self._scratch_bytes)
        for name, shape in zip(self.inputs, shapes, strict=True):
            if -1 in tuple(self._engine.get_tensor_shape(name)) and not context.set_input_shape(name, shape):
                raise _error(f"TensorRT refuses {name} of shape {list(shape)}")
        return context

    def _range(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shortest and longest shape of an input."""
        shape = tuple(self._engine.get_tensor_shape(name))
        if -1 not in shape:
            return shape, shape
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        return tuple(low), tuple(high)

    def _check(self, name: str, feed: _Array) -> tuple[int, ...]:
        """The shape of a feed. Raises BackendError if its dtype or shape does not fit the input."""
        shape = tuple(feed.shape)
        if feed.dtype != self._dtypes[name]:
            raise BackendError(f"{name} is {feed.dtype}, expected {self._dtypes[name]}")
        low, high = self._range(name)
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            raise BackendError(
                f"{name} has shape {list(shape)}, the engine supports {list(low)} to {list(high)}; {self._remedy}"
            )
        return shape

    def _feed(self, name: str, feed: _Array, queue: int) -> None:
        """Copy a feed into its input buffer; the graphs read from there."""
        api, target = self._cuda, self._buffers[name]
        if not isinstance(feed, DeviceArray):
            kind = api.cudaMemcpyKind.cudaMemcpyHostToDevice
            check(api.cudaMemcpyAsync(target, feed.ctypes.data, feed.nbytes, kind, queue))
            return
        found, device = check(api.cudaPointerGetAttributes(feed.pointer)).device, check(api.cudaGetDevice())
        if found != device:
            raise BackendError(f"{name} is on GPU {found}, the engine on GPU {device}")
        if feed.stream and feed.stream != queue:
            check(api.cudaStreamSynchronize(feed.stream))
        if feed.pointer != target:
            kind = api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
            check(api.cudaMemcpyAsync(target, feed.pointer, feed.nbytes, kind, queue))

    def _record(self, shapes: Shapes, queue: int) -> _Recorded:
        """Set up a context for these input shapes and record its work as a graph."""
        api = self._cuda
        while len(self._graphs) >= MAX_GRAPHS:
            self._drop(self._graphs.popitem(last=False)[1])
        context = self._context(shapes)
        for name, address in self._buffers.items():
            context.set_tensor_address(name, address)
        # TensorRT initializes lazily, so run once before recording, after `queue` has copied the feeds.
        check(api.cudaStreamSynchronize(queue))
        if not context.execute_async_v3(self._stream):
            raise _error("TensorRT")
        check(api.cudaStreamSynchronize(self._stream))
        outputs = {name: tuple(context.get_tensor_shape(name)) for name in self.outputs}
        return _Recorded(context, self._capture(context), outputs)

    def _capture(self, context: Any) -> Any:
        """The context's work as a CUDA graph; None if the engine cannot be recorded."""
        api = self._cuda
        check(api.cudaStreamBeginCapture(self._stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        enqueued = context.execute_async_v3(self._stream)
        status, graph = api.cudaStreamEndCapture(self._stream)
        if status.value or not enqueued:
            api.cudaGetLastError()  # or the next call reports the failed capture
            return None
        executable = check(api.cudaGraphInstantiate(graph, 0))
        api.cudaGraphDestroy(graph)
        return executable

    def _drop(self, recorded: _Recorded) -> None:
        if recorded.graph is not None:
            self._cuda.cudaGraphExecDestroy(recorded.graph)


def _array(feed: Any) -> _Array:
    view = device_view(feed)
    return np.ascontiguousarray(feed) if view is None else view


def _error(what: str) -> BackendError:
    return BackendError(f"{what}: {reported(logger(trt))}")


def _find(path: Path, precision: str) -> tuple[engine_cache.Platform, tuple[Path, engine_cache.Record] | None]:
    platform = engine_cache.Platform("tensorrt", trt.__version__, *current_device())
    return platform, engine_cache.find(path, precision, platform)


def built(path: Path, precision: str) -> bool:
    """Whether the cache has an engine of the stage at `path` for this device. Raises BackendError without a GPU."""
    return _find(path, precision)[1] is not None


def open_stage(source: StageSource) -> TensorRtStage:
    """Load the engine of a stage. Raises BackendError if there is none for this device."""
    path, bundle = source.path, source.path.parent.name
    platform, found = _find(path, source.precision)
    if found is None:
        raise BackendError(
            f"no engine of {path.name} for {platform.gpu} and TensorRT {platform.version}: "
            f"infdet-deploy build {bundle} --target tensorrt --precision {source.precision}"
        )
    file, record = found
    runtime = trt.Runtime(logger(trt))
    # A version-compatible engine contains code of its TensorRT version. It was built here, and its hash is checked.
    runtime.engine_host_code_allowed = bool(record.key.options.get("version_compatible"))
    engine = runtime.deserialize_cuda_engine(engine_cache.load(file, record))
    if engine is None:
        raise BackendError(f"TensorRT does not load {file}: {reported(logger(trt))}; delete it and build again")
    remedy = f"infdet-deploy build {bundle} --target tensorrt, with larger --frames or --clip-frames"
    return TensorRtStage(engine, source.inputs, source.outputs, remedy)

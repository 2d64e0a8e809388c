"""TensorRT engines on an NVIDIA GPU, as `infdet-deploy build` keeps them beside the bundle.

A stage owns one fixed device buffer for every input and output, as long as its engine's longest clip. For every shape
of its inputs it records one CUDA graph, which later runs only launch. `run` gives host arrays, `run_on_device` leaves
outputs on the GPU; both take host arrays and objects with `__cuda_array_interface__` (PyCUDA, CuPy, torch, a stage's
output).
"""

from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt

from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.backends.base import CompiledStage, StageSource
from infdet_deploy.runtime.backends.tensorrt import cache
from infdet_deploy.runtime.backends.tensorrt.build import logger, reported
from infdet_deploy.runtime.backends.tensorrt.device import cuda, current_device, done
from infdet_deploy.runtime.backends.tensorrt.device_array import DeviceArray, device_view, stream_handle

LEGACY = 1  # how `__cuda_array_interface__` calls CUDA's default stream
GRAPHS = 8  # shapes whose graphs are kept; the one unused for longest goes first


class TensorRtStage(CompiledStage):
    """A stage as an engine with its buffers. Calls may not overlap; outputs on the GPU last until the next run."""

    def __init__(self, engine: Any, inputs: tuple[str, ...], outputs: tuple[str, ...], remedy: str) -> None:
        super().__init__(inputs, outputs)
        self._cuda, self._engine, self._remedy = cuda(), engine, remedy
        self._memory: list[int] = []
        self._graphs: OrderedDict[tuple[tuple[int, ...], ...], _Recorded] = OrderedDict()
        self._stream = 0
        try:
            self._stream = int(done(self._cuda.cudaStreamCreate()))
            # Contexts of different shapes never run at once, so they share their scratch memory.
            self._scratch_bytes = int(engine.device_memory_size_v2)
            self._scratch = self._allocate(self._scratch_bytes)
            context = self._context()
            for name in inputs:
                if -1 in tuple(engine.get_tensor_shape(name)):
                    context.set_input_shape(name, self._longest(name))
            if context.infer_shapes():
                raise BackendError("TensorRT cannot tell the shapes of the outputs; build the engine again")
            self._dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in (*inputs, *outputs)}
            self._buffers = {
                name: self._allocate(prod(tuple(context.get_tensor_shape(name))) * dtype.itemsize)
                for name, dtype in self._dtypes.items()
            }
        except BaseException:
            self.close()
            raise

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """feeds: host arrays or objects on the GPU, in any mixture. Gives host arrays."""
        return {name: output.to_host() for name, output in self.run_on_device(feeds).items()}

    def run_on_device(self, feeds: Mapping[str, Any], cuda_stream: Any = None) -> dict[str, DeviceArray]:
        """Compute all outputs and leave them on the GPU, in the stage's own buffers.

        cuda_stream: the CUDA stream on which feeds become ready and outputs are used: an integer handle, or a stream
        of PyCUDA, CuPy, torch or cuda.core. With it the call only enqueues, and host arrays must stay unchanged
        until the stream gets there; without it outputs are ready when the call returns.
        Raises BackendError for a feed of the wrong dtype, shape or GPU.
        """
        queue = self._stream if cuda_stream is None else stream_handle(cuda_stream)
        views = {name: device_view(feeds[name]) for name in self.inputs}
        shapes = tuple(self._check(name, feeds[name], views[name]) for name in self.inputs)
        for name in self.inputs:
            self._feed(name, feeds[name], views[name], queue)
        recorded = self._graphs.pop(shapes, None) or self._record(shapes, queue)
        self._graphs[shapes] = recorded
        if recorded.graph is not None:
            done(self._cuda.cudaGraphLaunch(recorded.graph, queue))
        elif not recorded.context.execute_async_v3(queue):
            raise BackendError(f"TensorRT: {reported(logger(trt))}")
        if cuda_stream is None:
            done(self._cuda.cudaStreamSynchronize(queue))
        return {
            name: DeviceArray(
                self._buffers[name], shape, self._dtypes[name], None if cuda_stream is None else queue or LEGACY
            )
            for name, shape in recorded.output_shapes.items()
        }

    def close(self) -> None:
        """Give graphs, contexts and device memory back."""
        while self._graphs:
            self._drop(self._graphs.popitem()[1])
        while self._memory:
            self._cuda.cudaFree(self._memory.pop())
        if self._stream:
            self._cuda.cudaStreamDestroy(self._stream)
            self._stream = 0
        self._engine = None

    def _allocate(self, size: int) -> int:
        if not size:
            return 0
        self._memory.append(int(done(self._cuda.cudaMalloc(size))))
        return self._memory[-1]

    def _context(self) -> Any:
        context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise BackendError(f"TensorRT gives no execution context: {reported(logger(trt))}")
        if self._scratch:
            context.set_device_memory(self._scratch, self._scratch_bytes)
        return context

    def _longest(self, name: str) -> tuple[int, ...]:
        return tuple(self._engine.get_tensor_profile_shape(name, 0)[2])

    def _check(self, name: str, feed: Any, view: DeviceArray | None) -> tuple[int, ...]:
        found = view if view is not None else np.asarray(feed)
        shape, dtype = tuple(found.shape), self._dtypes[name]
        if found.dtype != dtype:
            raise BackendError(f"{name} is {found.dtype}, expected {dtype}")
        expected = tuple(self._engine.get_tensor_shape(name))
        low, high = expected, expected
        if -1 in expected:
            low, _, high = (tuple(s) for s in self._engine.get_tensor_profile_shape(name, 0))
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            raise BackendError(
                f"{name} has shape {list(shape)}, the engine takes {list(low)} to {list(high)}; {self._remedy}"
            )
        return shape

    def _feed(self, name: str, feed: Any, view: DeviceArray | None, queue: int) -> None:
        """Copy one feed into its input buffer, whose address the graphs hold."""
        api, target = self._cuda, self._buffers[name]
        if view is None:
            array = np.ascontiguousarray(feed)
            kind = api.cudaMemcpyKind.cudaMemcpyHostToDevice
            done(api.cudaMemcpyAsync(target, array.ctypes.data, array.nbytes, kind, queue))
            return
        attributes = done(api.cudaPointerGetAttributes(view.pointer))
        if attributes.device != done(api.cudaGetDevice()):
            raise BackendError(f"{name} lies on GPU {attributes.device}, the engine on GPU {done(api.cudaGetDevice())}")
        if view.stream and view.stream != queue:
            done(api.cudaStreamSynchronize(view.stream))
        if view.pointer != target:
            kind = api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
            done(api.cudaMemcpyAsync(target, view.pointer, view.nbytes, kind, queue))

    def _record(self, shapes: tuple[tuple[int, ...], ...], queue: int) -> "_Recorded":
        """Set a context up for these shapes and record its work as a graph."""
        api = self._cuda
        while len(self._graphs) >= GRAPHS:
            self._drop(self._graphs.popitem(last=False)[1])
        context = self._context()
        for name, shape in zip(self.inputs, shapes, strict=True):
            if -1 in tuple(self._engine.get_tensor_shape(name)) and not context.set_input_shape(name, shape):
                raise BackendError(f"TensorRT refuses {name} of shape {list(shape)}: {reported(logger(trt))}")
        for name, address in self._buffers.items():
            context.set_tensor_address(name, address)
        # One run before recording, on the feeds that `queue` brings: TensorRT prepares itself in the first one.
        done(api.cudaStreamSynchronize(queue))
        if not context.execute_async_v3(self._stream):
            raise BackendError(f"TensorRT: {reported(logger(trt))}")
        done(api.cudaStreamSynchronize(self._stream))
        outputs = {name: tuple(context.get_tensor_shape(name)) for name in self.outputs}
        return _Recorded(context, self._capture(context), outputs)

    def _capture(self, context: Any) -> Any:
        """The context's work as a graph; None for an engine that cannot be recorded, which then runs as it is."""
        api = self._cuda
        done(api.cudaStreamBeginCapture(self._stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        enqueued = context.execute_async_v3(self._stream)
        status, graph = api.cudaStreamEndCapture(self._stream)
        if status.value or not enqueued:
            api.cudaGetLastError()  # a failed capture would be reported by the next call
            return None
        executable = done(api.cudaGraphInstantiate(graph, 0))
        api.cudaGraphDestroy(graph)
        return executable

    def _drop(self, recorded: "_Recorded") -> None:
        if recorded.graph is not None:
            self._cuda.cudaGraphExecDestroy(recorded.graph)


class _Recorded:
    """A context set up for one set of shapes, and the graph of its work."""

    def __init__(self, context: Any, graph: Any, output_shapes: dict[str, tuple[int, ...]]) -> None:
        self.context, self.graph, self.output_shapes = context, graph, output_shapes


def built(path: Path, precision: str) -> bool:
    """Whether an engine of the stage at `path` lies here for this device; raises BackendError without a GPU."""
    device = current_device()
    return cache.find(path, precision, device.name, device.capability, trt.__version__) is not None


def open_stage(source: StageSource) -> TensorRtStage:
    path, precision = source.path, source.precision
    device = current_device()
    bundle = path.parent.name
    found = cache.find(path, precision, device.name, device.capability, trt.__version__)
    if found is None:
        raise BackendError(
            f"no engine of {path.name} for {device.name} and TensorRT {trt.__version__}: "
            f"infdet-deploy build {bundle} --target tensorrt --precision {precision}"
        )
    file, record = found
    runtime = trt.Runtime(logger(trt))
    # Such an engine brings code of its own TensorRT version; it was built here, and its hash is checked.
    runtime.engine_host_code_allowed = bool(record.key.options.get("version_compatible"))
    engine = runtime.deserialize_cuda_engine(cache.load(file, record))
    if engine is None:
        raise BackendError(f"TensorRT does not load {file}: {reported(logger(trt))}; delete it and build again")
    remedy = f"infdet-deploy build {bundle} --target tensorrt, with --frames or --clip-frames that hold it"
    return TensorRtStage(engine, source.inputs, source.outputs, remedy)

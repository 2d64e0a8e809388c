"""OpenVINO on the CPU."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from infdet_deploy.files import sha256
from infdet_deploy.runtime import compiled_cache
from infdet_deploy.runtime.backends.base import Array, Backend, Capabilities, CompiledStage, StageSource
from infdet_deploy.system import cpu_features

if TYPE_CHECKING:
    import openvino


class OpenVino(Backend):
    """Float16 files contain float16 weights; the arithmetic on a CPU is float32."""

    name = "openvino"
    capabilities = Capabilities(
        package="openvino",
        precisions=("float32", "bfloat16", "float16", "int8"),
        fixed_shapes=True,
        caches=True,
        throughput=True,
        int8_needs_vnni=True,
    )

    def compile(self, source: StageSource) -> "OpenVinoStage":
        """For throughput OpenVINO gives each concurrent call a few CPUs."""
        import openvino

        core = shared_core()
        model = core.read_model(str(source.path))
        if source.shapes:
            # Saves shape inference, a third of the time of small networks with short inputs.
            model.reshape({name: openvino.PartialShape(list(shape)) for name, shape in source.shapes.items()})
        compiled = core.compile_model(model, "CPU", properties(source.performance))
        # The file may have changed since its check.
        if compiled_cache.folder() is not None and source.digest is not None and sha256(source.path) == source.digest:
            compiled_cache.store(_key(core, source), compiled.export_model().getbuffer())
        return OpenVinoStage(source, compiled)

    def load_cached(self, source: StageSource) -> "OpenVinoStage | None":
        if compiled_cache.folder() is None:
            return None
        import openvino

        core = shared_core()
        blob = compiled_cache.load(_key(core, source))
        if blob is None:
            return None
        try:
            tensor = openvino.Tensor(blob, shared_memory=True)
            return OpenVinoStage(source, core.import_model(tensor, "CPU", properties(source.performance)), blob)
        except RuntimeError:  # written by another build of the same OpenVINO version
            return None


class OpenVinoStage(CompiledStage):
    """A stage compiled by OpenVINO."""

    def __init__(self, source: StageSource, compiled: "openvino.CompiledModel", weights: Array | None = None) -> None:
        """weights: memory that the compiled graph uses but does not own."""
        super().__init__(source.inputs, source.outputs)
        self._compiled, self._weights = compiled, weights
        self._fixed: RepeatedShapes | None = None
        # Several calls at once may have several shapes, and one graph for each would need too much memory.
        if source.fixed is not None and source.performance == "latency":
            self._fixed = RepeatedShapes(source.fixed, compiled.release_memory)
        if source.performance == "throughput":
            self.concurrency = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(self.concurrency):
            self._requests.put(compiled.create_infer_request())

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        repeated = self._fixed.stage_for(feeds) if self._fixed else None
        if repeated is not None:
            return repeated.compute(feeds)
        request = self._requests.get()
        try:
            results = request.infer({name: feeds[name] for name in self.inputs}, share_inputs=True)
            return {name: results[name] for name in self.outputs}
        finally:
            self._requests.put(request)

    def release_memory(self) -> None:
        """Free the memory of the layers' outputs, unless a run is in progress."""
        if self._fixed:
            self._fixed.release_memory()
        idle = []
        try:
            for _ in range(self.concurrency):
                idle.append(self._requests.get_nowait())
            self._compiled.release_memory()
        except Empty:  # OpenVINO refuses while a request runs
            pass
        finally:
            for request in idle:
                self._requests.put(request)

    def close(self) -> None:
        if self._fixed:
            self._fixed.close()
        del self._requests, self._compiled, self._weights, self._fixed


class RepeatedShapes:
    """Compiles a stage for the shapes of its inputs when they come twice in a row.

    Compiling takes about as long as the faster graph saves in one clip of 100 frames. So it pays for the chunks of a
    long recording and for many clips of one length, but not for clips of many lengths.
    """

    def __init__(self, source: StageSource, release_plain: Callable[[], None]) -> None:
        """release_plain: frees the memory of the layers' outputs in the graph for other shapes."""
        self._source, self._release_plain = source, release_plain
        self._last: dict[str, tuple[int, ...]] = {}
        self._stage: OpenVinoStage | None = None  # for `_shapes`
        self._shapes: dict[str, tuple[int, ...]] = {}

    def stage_for(self, feeds: Mapping[str, Array]) -> OpenVinoStage | None:
        """The stage for the shapes of these inputs; None if they are new or the stage's file has changed."""
        shapes = {name: feeds[name].shape for name in self._source.inputs}
        repeated, self._last = shapes == self._last, shapes
        # Only one of the two graphs has its layers' outputs in memory, and none while the other is compiled.
        if not repeated:
            self.release_memory()
        elif shapes != self._shapes:
            self._release_plain()
            self.close()
            self._stage, self._shapes = self._open(replace(self._source, shapes=shapes)), shapes
        if shapes != self._shapes or self._stage is None:
            return None
        self._release_plain()
        return self._stage

    @staticmethod
    def _open(source: StageSource) -> OpenVinoStage | None:
        backend = OpenVino()
        cached = backend.load_cached(source) if source.digest is not None else None
        # The bundle was checked when it was opened, which may be long ago.
        if cached is None and source.path.is_file() and source.digest in (None, sha256(source.path)):
            return backend.compile(source)
        return cached

    def release_memory(self) -> None:
        """Free the memory of the layers' outputs."""
        if self._stage is not None:
            self._stage.release_memory()

    def close(self) -> None:
        """Free the stage."""
        if self._stage is not None:
            self._stage.close()
        self._stage, self._shapes = None, {}


_core: "openvino.Core | None" = None
_core_lock = threading.Lock()


def shared_core() -> "openvino.Core":
    """The process's only `openvino.Core`.

    Each Core that compiles for the CPU replaces the main thread's signal stack and frees it at its end (OpenVINO
    2026.4). Where two Cores end in another order than they began, the next signal, such as Ctrl-C, is a segmentation
    fault.
    """
    import openvino

    global _core
    with _core_lock:
        _core = _core or openvino.Core()
    return _core


def properties(performance: str) -> dict[str, str]:
    """The settings for compiling any graph."""
    return {
        # By default OpenVINO computes whole graphs in bfloat16 if the CPU supports it. "f32" lets each operator compute
        # in its type in the graph.
        "INFERENCE_PRECISION_HINT": "f32",
        # The exported blob contains the weights, so that the ONNX file is not read again.
        "CACHE_MODE": "OPTIMIZE_SPEED",
        "PERFORMANCE_HINT": performance.upper(),
    }


def _key(core: "openvino.Core", source: StageSource) -> str:
    """A hash of everything that a compiled graph depends on, including the processor, because machines share homes."""
    import openvino

    return compiled_cache.key_of(
        openvino=openvino.get_version(),
        processor=core.get_property("CPU", "FULL_DEVICE_NAME"),
        capabilities=sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        features=sorted(cpu_features()),
        properties=properties(source.performance),
        file=source.digest,
        shapes=dict(source.shapes or {}),
    )

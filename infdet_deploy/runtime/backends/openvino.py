"""OpenVINO on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import openvino

from infdet_deploy.files import sha256
from infdet_deploy.runtime import cache as compiled_cache
from infdet_deploy.system import cpu_features


class OpenVinoStage:
    """A stage compiled by OpenVINO. Float16 files hold float16 weights; the arithmetic on a CPU is float32."""

    def __init__(
        self,
        compiled: openvino.CompiledModel,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        performance: str,
        weights: np.ndarray | None = None,
    ) -> None:
        """weights: memory that the compiled graph reads and does not own."""
        self._compiled, self._weights = compiled, weights
        self.inputs, self.outputs = inputs, outputs
        several = performance == "throughput"
        self.at_once: int = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") if several else 1
        self._requests: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(self.at_once):
            self._requests.put(compiled.create_infer_request())

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = self._requests.get()
        try:
            results = request.infer({name: feeds[name] for name in self.inputs}, share_inputs=True)
            return {name: results[name] for name in self.outputs}
        finally:
            self._requests.put(request)

    def release_memory(self) -> None:
        """Give back the memory of the layers' outputs, which is kept between runs otherwise; not while others run."""
        idle = []
        try:
            for _ in range(self.at_once):
                idle.append(self._requests.get_nowait())
            self._compiled.release_memory()
        except Empty:  # OpenVINO refuses while any runs; the last of them will ask again
            pass
        finally:
            for request in idle:
                self._requests.put(request)

    def close(self) -> None:
        del self._requests, self._compiled, self._weights


def open_stage(
    path: Path,
    precision: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    digest: str | None = None,
    performance: str = "latency",
) -> OpenVinoStage:
    """Compile a stage, or take it from the cache when it was compiled before. digest: the file's SHA-256, already
    checked; without it the cache is left alone. performance: for `throughput` OpenVINO makes streams of few CPUs
    each, one for each call at once."""
    core = openvino.Core()
    options, key = properties(performance), None
    if digest is not None and compiled_cache.folder() is not None:
        key = _key(core, digest, shapes, options)
        kept = _import(core, key, inputs, outputs, performance)
        if kept is not None:
            return kept
    model = core.read_model(str(path))
    if shapes:
        # Without shape arithmetic before every node: a third of the time of small networks with short inputs.
        model.reshape({name: openvino.PartialShape(list(shape)) for name, shape in shapes.items()})
    compiled = core.compile_model(model, "CPU", options)
    if key is not None and sha256(path) == digest:  # a file replaced since it was checked belongs to another key
        compiled_cache.store(key, compiled.export_model().getbuffer())
    return OpenVinoStage(compiled, inputs, outputs, performance)


def open_kept(
    digest: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    performance: str = "latency",
) -> OpenVinoStage | None:
    """The stage of the file with this SHA-256 as the cache holds it, without that file; None where it does not."""
    if compiled_cache.folder() is None:
        return None
    core = openvino.Core()
    return _import(core, _key(core, digest, shapes, properties(performance)), inputs, outputs, performance)


def _import(
    core: openvino.Core, key: str, inputs: tuple[str, ...], outputs: tuple[str, ...], performance: str
) -> OpenVinoStage | None:
    """What the cache holds under this key; None where it holds nothing that OpenVINO takes."""
    kept = compiled_cache.load(key)
    if kept is None:
        return None
    try:
        tensor = openvino.Tensor(kept, shared_memory=True)
        return OpenVinoStage(
            core.import_model(tensor, "CPU", properties(performance)), inputs, outputs, performance, kept
        )
    except RuntimeError:  # written by hand or by another OpenVINO of the same name
        return None


def properties(performance: str) -> dict[str, str]:
    """How every graph is compiled that is tuned for this performance."""
    return {
        # Left to itself OpenVINO computes all of a graph in bfloat16 where the CPU has it. Each operator is to compute
        # in the type that the graph gives it: what is typed bfloat16 then does, what must stay float32 does too.
        "INFERENCE_PRECISION_HINT": "f32",
        # What is exported holds the weights, so that the ONNX file is not read again.
        "CACHE_MODE": "OPTIMIZE_SPEED",
        "PERFORMANCE_HINT": performance.upper(),
    }


def _key(
    core: openvino.Core, digest: str, shapes: Mapping[str, tuple[int, ...]] | None, options: dict[str, str]
) -> str:
    """Of all that a compiled graph depends on; of the processor too, since homes are shared and images move."""
    return compiled_cache.key_of(
        openvino=openvino.get_version(),
        processor=core.get_property("CPU", "FULL_DEVICE_NAME"),
        capabilities=sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        features=sorted(cpu_features()),
        properties=options,
        file=digest,
        shapes=dict(shapes or {}),
    )

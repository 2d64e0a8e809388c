"""ONNX Runtime on the CPU."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from infdet_deploy.runtime.backends.base import Array, Backend, Capabilities, CompiledStage, StageSource
from infdet_deploy.system import cpu_count

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxRuntime(Backend):
    name = "onnxruntime"
    capabilities = Capabilities(
        package="onnxruntime", extra="onnxruntime", precisions=("float32", "float16", "int8"), throughput=True
    )

    def compile(self, source: StageSource) -> "OnnxRuntimeStage":
        """For throughput each call uses one CPU, and as many calls as there are CPUs may overlap."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Idle threads that spin would take the processor from the other stages' sessions and from other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        concurrency = 1
        if source.performance == "throughput":
            options.intra_op_num_threads, concurrency = 1, cpu_count()
        session = onnxruntime.InferenceSession(str(source.path), options, providers=["CPUExecutionProvider"])
        return OnnxRuntimeStage(source, session, concurrency)


class OnnxRuntimeStage(CompiledStage):
    """A stage in an ONNX Runtime session."""

    def __init__(self, source: StageSource, session: "InferenceSession", concurrency: int) -> None:
        super().__init__(source.inputs, source.outputs)
        self._session, self.concurrency = session, concurrency

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        results = self._session.run(list(self.outputs), {name: feeds[name] for name in self.inputs})
        return dict(zip(self.outputs, results, strict=True))

    def close(self) -> None:
        del self._session

"""A backend that runs a bundle's stages with ONNX Runtime in one thread."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infdet_deploy import Backend, Capabilities, CompiledStage, StageSource

if TYPE_CHECKING:
    import onnxruntime


class SingleThread(Backend):
    name = "single-thread"
    capabilities = Capabilities(package="onnxruntime", extra="onnxruntime", precisions=("float32", "float16"))

    def compile(self, source: StageSource) -> "SingleThreadStage":
        import onnxruntime  # here, so that listing backends stays quick

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(source.path), options, providers=["CPUExecutionProvider"])
        return SingleThreadStage(source, session)


class SingleThreadStage(CompiledStage):
    """One stage. `compute` gets arrays by input name and returns arrays by output name."""

    def __init__(self, source: StageSource, session: "onnxruntime.InferenceSession") -> None:
        super().__init__(source.inputs, source.outputs)
        self._session = session

    def compute(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        results = self._session.run(list(self.outputs), {name: feeds[name] for name in self.inputs})
        return dict(zip(self.outputs, results, strict=True))

    def close(self) -> None:
        del self._session

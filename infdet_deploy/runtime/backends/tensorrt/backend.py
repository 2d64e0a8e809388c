"""TensorRT as a backend. Engines are built ahead by `infdet-deploy build`; only `runner.py` imports tensorrt."""

from pathlib import Path

from infdet_deploy.runtime.backends.base import Backend, Capabilities, CompiledStage, StageSource


class TensorRt(Backend):
    name = "tensorrt"
    capabilities = Capabilities(
        package="tensorrt",
        extra="tensorrt",
        precisions=("float32", "bfloat16", "float16", "int8"),
        built_ahead=True,
        on_gpu=True,
    )

    def compile(self, source: StageSource) -> CompiledStage:
        from infdet_deploy.runtime.backends.tensorrt.runner import open_stage

        return open_stage(source)

    def is_built(self, path: Path, precision: str) -> bool:
        from infdet_deploy.runtime.backends.tensorrt.runner import built

        return built(path, precision)

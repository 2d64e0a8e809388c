"""TorchScript through PyTorch: the only part of the runtime that needs torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from infdet_deploy.runtime.backends.base import Array, Backend, Capabilities, CompiledStage, StageSource

if TYPE_CHECKING:
    import torch


class TorchScript(Backend):
    name = "torchscript"
    capabilities = Capabilities(
        package="torch", extra="export", precisions=("float32", "bfloat16", "float16"), format="torchscript"
    )

    def compile(self, source: StageSource) -> "TorchScriptStage":
        import torch

        return TorchScriptStage(source, torch.jit.load(str(source.path), "cpu").eval())


class TorchScriptStage(CompiledStage):
    """A stage as a frozen TorchScript module on the CPU."""

    def __init__(self, source: StageSource, module: "torch.jit.ScriptModule") -> None:
        super().__init__(source.inputs, source.outputs)
        self._module = module

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        with torch.inference_mode():
            result = self._module(*(torch.from_numpy(feeds[name]) for name in self.inputs))
        return {self.outputs[0]: result.numpy()}

    def close(self) -> None:
        del self._module

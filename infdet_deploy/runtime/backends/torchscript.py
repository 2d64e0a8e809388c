"""TorchScript through PyTorch: the only part of the runtime that needs torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch


class TorchScriptStage:
    """A stage as a frozen TorchScript module on the CPU."""

    def __init__(self, module: torch.jit.ScriptModule, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self._module = module
        self.inputs, self.outputs = inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            result = self._module(*(torch.from_numpy(feeds[name]) for name in self.inputs))
        return {self.outputs[0]: result.numpy()}

    def close(self) -> None:
        del self._module


def open_stage(path: Path, precision: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> TorchScriptStage:
    return TorchScriptStage(torch.jit.load(str(path), "cpu").eval(), inputs, outputs)

"""The network in PyTorch on an NVIDIA GPU, to compare with the runtime's TensorRT backend.

The joined stages, from uint8 frames to scores: plain (`eager`) or compiled with CUDA graphs (`compile`).
"""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from infdet_deploy.benchmarks.eager import reference_network
from infdet_deploy.bundle.loading import NETWORK, Bundle
from infdet_deploy.errors import BackendError
from infdet_deploy.exporting.stages.build import build_stage


class CudaContender:
    """frames uint8 [T, S, S] → scores float32 [T', C], for clips of one length.

    network: its input and output are on the device.
    """

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], frames: int, size: int, device: str) -> None:
        self._network = network
        self._clip = torch.zeros((frames, size, size), dtype=torch.uint8, device=device)

    @torch.inference_mode()
    def scores(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self._clip.copy_(torch.from_numpy(frames[: len(self._clip)]))
        scores: npt.NDArray[np.float32] = self._network(self._clip).float().cpu().numpy()
        return scores

    @torch.inference_mode()
    def paper_seconds(self, runs: int) -> float:
        """Mean seconds of a run as the paper measures: `runs` runs of a clip on the GPU, one wait at the end."""
        self._synchronize()
        start = time.perf_counter()
        for _ in range(runs):
            self._network(self._clip)
        self._synchronize()
        return (time.perf_counter() - start) / runs

    def _synchronize(self) -> None:
        if self._clip.is_cuda:
            torch.cuda.synchronize()


def open_contender(
    kind: str, bundle: Bundle, precision: str, preset: str | None, frames: int, device: str = "cuda"
) -> CudaContender:
    """kind: one of `contenders.CUDA_KINDS`. Raises BackendError without a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("PyTorch finds no NVIDIA GPU; cuda contenders need one, and a PyTorch built for CUDA")
    module = build_stage(NETWORK, reference_network(bundle, preset), getattr(torch, precision)).to(device)
    network = torch.compile(module, mode="reduce-overhead") if kind == "compile" else module
    return CudaContender(network, frames // 4 * 4, bundle.size, device)

"""What PyTorch and ONNX Runtime make of the network on an NVIDIA GPU, timed by the GPU's own events.

Contenders, all from uint8 frames to scores: the exported stages joined and run by PyTorch as they are (`eager`),
compiled (`compile`), recorded as a CUDA graph (`graph`) and as TorchScript (`torchscript`); the bundle's ONNX files in
ONNX Runtime (`onnxruntime`), tensors staying on the GPU. TensorRT is a backend of the runtime and measured as such.

Every call to a GPU is in `Cuda`, so that the rest runs wherever PyTorch does.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from infdet_deploy.benchmarks.eager import reference_network
from infdet_deploy.benchmarks.report import DEVICE_STEPS
from infdet_deploy.bundle.loading import NETWORK, WEIGHTS, Bundle
from infdet_deploy.errors import BackendError, first_line, missing_package
from infdet_deploy.exporting.stages import build_stage
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.detector import Timings
from infdet_deploy.snippets import feature_length, valid_length

Network = Callable[[torch.Tensor], torch.Tensor]  # uint8 [T, S, S] on the device → scores on it, only enqueued
WARM_UP_RUNS = 3  # before a graph is recorded: libraries choose their kernels in them


class Device(Protocol):
    """The calls to a device. mark: a point in its queue; seconds: between two of them, waited for."""

    name: str
    provider: str
    compiler: str

    def mark(self) -> Any: ...

    def seconds(self, first: Any, last: Any) -> float: ...

    def synchronize(self) -> None: ...

    def record(self, run: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """A graph of what `run` does, as a function that launches it, and the tensor that it writes to."""


class Cuda:
    """The first NVIDIA GPU. Raises BackendError where PyTorch finds none."""

    name, provider, compiler = "cuda", "CUDAExecutionProvider", "inductor"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise BackendError(
                "no NVIDIA GPU that PyTorch can use here; cuda contenders need one, and a PyTorch built for CUDA"
            )

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, first: torch.cuda.Event, last: torch.cuda.Event) -> float:
        last.synchronize()
        return first.elapsed_time(last) / 1000

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def record(self, run: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()
        return graph.replay, output


class Running:
    """frames uint8 [T, S, S] → scores float32 [T', C], always of clips of one length."""

    def __init__(self, device: Device, network: Network, frames: int, size: int) -> None:
        self._device, self._network = device, network
        self._clip = torch.zeros((frames // 4 * 4, size, size), dtype=torch.uint8, device=device.name)

    def scores(self, frames: np.ndarray, timings: Timings) -> np.ndarray:
        """`timings` gains the seconds of `upload`, `network` and `download`, by the device's own clock."""
        host, device = torch.from_numpy(frames[: len(self._clip)]), self._device
        with torch.inference_mode():
            marks = [device.mark()]
            self._clip.copy_(host)
            marks.append(device.mark())
            found = self._network(self._clip)
            marks.append(device.mark())
            scores = found.cpu()
            marks.append(device.mark())
        for name, first, last in zip(DEVICE_STEPS, marks[:-1], marks[1:], strict=True):
            timings[name] = device.seconds(first, last)
        return scores.float().numpy()

    def paper_seconds(self, runs: int) -> float:
        """The paper's way: the mean of `runs` runs one after another, waited for only at the end, the clip on the GPU
        already and nothing fetched from it."""
        with torch.inference_mode():
            self._device.synchronize()
            start = time.perf_counter()
            for _ in range(runs):
                self._network(self._clip)
            self._device.synchronize()
        return (time.perf_counter() - start) / runs


def open_contender(
    kind: str, bundle: Bundle, precision: str, preset: str | None, frames: int, device: Device | None = None
) -> Running:
    """kind: of `latency.CUDA_KINDS`. Raises BackendError without a GPU, and for what the GPU or a library refuses."""
    device = device or Cuda()
    try:
        if kind == "onnxruntime":
            network = _onnxruntime(bundle, precision, frames // 4 * 4, device)
        else:
            weights = bundle.path / WEIGHTS
            source = reference_network(weights if weights.is_file() else None, preset)
            network = _pytorch(kind, source, precision, frames // 4 * 4, device)
        return Running(device, network, frames, bundle.size)
    except RuntimeError as error:
        raise BackendError(f"{kind} {precision}: {first_line(error)}") from error


def _pytorch(kind: str, source: InfDetNet, precision: str, frames: int, device: Device) -> Network:
    module = build_stage(NETWORK, source, getattr(torch, precision)).to(device.name)
    clip = torch.zeros((frames, source.config.size, source.config.size), dtype=torch.uint8, device=device.name)
    if kind == "compile":
        return torch.compile(module, backend=device.compiler)
    if kind == "torchscript":
        with torch.inference_mode():
            return torch.jit.freeze(torch.jit.trace(module, clip, check_trace=False))
    if kind == "graph":
        with torch.inference_mode():
            launch, output = device.record(lambda: module(clip))

        def network(frames: torch.Tensor) -> torch.Tensor:
            clip.copy_(frames)  # the graph reads this memory; a copy inside the GPU
            launch()
            return output

        return network
    return module


def _onnxruntime(bundle: Bundle, precision: str, frames: int, device: Device) -> Network:
    try:
        import onnxruntime
    except ImportError:
        raise missing_package("onnxruntime", "gpu", "onnxruntime on a GPU") from None
    if device.provider not in onnxruntime.get_available_providers():
        raise BackendError(f"this onnxruntime has no {device.provider}; pip install 'infdet-deploy[gpu]' brings one")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions, outputs = {}, {}
    for stage in bundle.stages:
        path = bundle.stage_file(stage, precision)
        sessions[stage] = onnxruntime.InferenceSession(str(path), options, providers=[device.provider])
        if sessions[stage].get_providers()[0] != device.provider:
            raise BackendError(f"onnxruntime runs {path.name} without {device.provider}")
        (output,) = bundle.entry(stage)["outputs"]
        shape = [{"T": frames, "T'": feature_length(frames)}.get(size, size) for size in output["shape"]]
        outputs[stage] = output["name"], torch.empty(shape, dtype=torch.float32, device=device.name)

    def run(stage: str, feeds: dict[str, torch.Tensor]) -> torch.Tensor:
        binding, (name, output) = sessions[stage].io_binding(), outputs[stage]
        for feed, tensor in feeds.items():
            binding.bind_input(feed, device.name, 0, _dtype(tensor), tuple(tensor.shape), tensor.data_ptr())
        binding.bind_output(name, device.name, 0, _dtype(output), tuple(output.shape), output.data_ptr())
        device.synchronize()  # onnxruntime has a stream of its own
        sessions[stage].run_with_iobinding(binding)
        binding.synchronize_outputs()
        return output

    def network(clip: torch.Tensor) -> torch.Tensor:
        features = {}
        if "infrared_tower" in sessions:
            features["infrared_features"] = run("infrared_tower", {"frames": clip})
        if "flow_tower" in sessions:
            flow = run("fen", {"frames": torch.cat((clip, clip[-1:]))})
            flow[-1] = 0
            features["flow_features"] = run("flow_tower", {"flow": flow})
        return run("head", {**features, "length": length})

    length = torch.tensor([valid_length(frames)], device=device.name)
    return network


def _dtype(tensor: torch.Tensor) -> np.dtype:
    return np.dtype(str(tensor.dtype).removeprefix("torch."))

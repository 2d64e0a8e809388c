"""The machine's limits: measured multiply-adds per second in each precision and bytes per second.

From them follows the network's floor, the least time that a clip can take on this machine.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from infdet_deploy.benchmarks.contenders import EAGER, runs_on_gpu
from infdet_deploy.benchmarks.workers import Worker
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.manifest import COUNTED_FRAMES
from infdet_deploy.errors import BackendError
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.snippets import feature_length
from infdet_deploy.system import cpu_count

SIDE = 2048  # of the square matrices
REPEATS = 5  # of which the fastest counts
COPIED_BYTES = 512 * 2**20  # far larger than every cache
# The types, in OpenVINO's names, that count as computing in a precision.
_TYPES = {"float32": ("f32",), "bfloat16": ("bf16",), "int8": ("i8", "u8")}
_PRODUCTS = ("FullyConnected", "MatMul")


@dataclass(frozen=True)
class Peaks:
    """multiply_adds_per_s: by precision, None if the processor does not support it. bytes_per_s: read and written by a
    copy."""

    multiply_adds_per_s: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(_TYPES))
    bytes_per_s: float | None = None

    def max(self, other: "Peaks") -> "Peaks":
        """The higher of two measurements, figure by figure."""
        rates = {p: _max(r, other.multiply_adds_per_s[p]) for p, r in self.multiply_adds_per_s.items()}
        return Peaks(rates, _max(self.bytes_per_s, other.bytes_per_s))


def _max(*values: float | None) -> float | None:
    return max(filter(None, values), default=None)


def measure_peaks(side: int = SIDE, copied_bytes: int = COPIED_BYTES) -> Peaks:
    """Measure in a separate process, so that its memory and threads end with it; no figures if it dies."""
    with closing(Worker("peaks", _send_peaks, side, copied_bytes)) as worker, suppress(BackendError):
        peaks: Peaks = worker.receive()
        return peaks
    return Peaks()  # without a roofline the rest of the report stands


def _send_peaks(pipe: Connection, side: int, copied_bytes: int) -> None:
    rates = {precision: product_rate(precision, side) for precision in _TYPES}
    with suppress(OSError):  # the parent was interrupted
        pipe.send(Peaks(rates, copy_rate(copied_bytes)))


def product_rate(precision: str, side: int = SIDE) -> float | None:
    """Multiply-adds per second of a square matrix product, the fastest of several runs.

    None if OpenVINO executes the product in another type.
    """
    import openvino

    from infdet_deploy.runtime.backends.openvino import properties, shared_core

    options = {**properties("latency"), "PERF_COUNT": "YES"}
    compiled = shared_core().compile_model(_product(precision, side), "CPU", options)
    types = [
        str(node.rt_info["runtimePrecision"].astype(str))
        for node in compiled.get_runtime_model().get_ordered_ops()
        if node.rt_info["layerType"].astype(str).startswith(_PRODUCTS)
    ]
    if len(types) != 1 or types[0] not in _TYPES[precision]:
        return None
    request = compiled.create_infer_request()
    tensor = openvino.Tensor(compiled.input(0).element_type, [side, side])
    tensor.data[...] = 1
    request.set_input_tensor(tensor)
    seconds = []
    for _ in range(REPEATS):
        request.infer()
        # the product's own time: in int8 a step before it quantizes the input
        seconds.append(max(node.real_time.total_seconds() for node in request.profiling_info))
    return float(side**3 / min(seconds))


def _product(precision: str, side: int) -> Any:
    """A graph of one product of its input [side, side] and a constant of the same shape."""
    import openvino
    from openvino import opset13 as ops

    values = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    dtype = openvino.Type.bf16 if precision == "bfloat16" else openvino.Type.f32
    parameter = ops.parameter([side, side], dtype)
    left, right = parameter, ops.constant(values)
    if precision == "bfloat16":
        right = ops.convert(right, dtype)
    elif precision == "int8":
        left = ops.fake_quantize(parameter, *map(np.float32, (0, 2.55, 0, 2.55)), 256)
        right = ops.fake_quantize(right, *map(np.float32, (-5, 5, -5, 5)), 255)
    return openvino.Model([ops.matmul(left, right, False, True)], [parameter])


def copy_rate(copied_bytes: int = COPIED_BYTES) -> float:
    """Bytes per second, read and written, of copying arrays on all CPUs at once, the fastest of several runs."""
    workers = cpu_count()
    source = np.ones((workers, copied_bytes // workers // 8))
    target = np.zeros_like(source)
    seconds = []
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(REPEATS):
            start = time.perf_counter()
            list(pool.map(np.copyto, target, source))
            seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


@dataclass(frozen=True)
class Work:
    """Multiply-adds of a stage: of the exported graph, and of the network as published."""

    multiply_adds: float
    multiply_adds_original: float


def stage_work(bundle: Bundle, frames: int) -> dict[str, Work] | None:
    """The work of each stage for a clip of `frames` frames; None where the manifest has no counts.

    Work is proportional to the clip's length, except for the attention's, which is less than a thousandth of all.
    """
    work = {}
    for stage in bundle.stages:
        exported, original = bundle.entry(stage).multiply_adds, bundle.entry(stage).multiply_adds_original
        if exported is None or original is None:
            return None
        work[stage] = Work(exported * frames / COUNTED_FRAMES, original * frames / COUNTED_FRAMES)
    return work


@dataclass(frozen=True)
class StageFloor:
    """bytes: the stage's file, which is nearly all weights, its inputs and its outputs."""

    stage: str
    multiply_adds: float
    bytes: int
    floor_s: float


def stage_floors(
    bundle: Bundle, contender: Contender, frames: int, peaks: Peaks
) -> tuple[str, list[StageFloor]] | None:
    """The precision that the processor computes in, and the least time of each stage on this machine.

    A floor is the longer of work ÷ peak and bytes ÷ bandwidth. None without a count or a peak, and on a GPU.
    """
    work = stage_work(bundle, frames)
    # a CPU has no float16 products
    precision = "float32" if contender.precision == "float16" else contender.precision
    peak, bandwidth = peaks.multiply_adds_per_s.get(precision), peaks.bytes_per_s
    if work is None or not peak or not bandwidth or runs_on_gpu(contender.backend):
        return None
    floors = []
    for stage in bundle.stages:
        size = _stage_bytes(bundle, stage, contender, frames)
        multiply_adds = work[stage].multiply_adds
        floors.append(StageFloor(stage, multiply_adds, size, max(multiply_adds / peak, size / bandwidth)))
    return precision, floors


def _stage_bytes(bundle: Bundle, stage: str, contender: Contender, frames: int) -> int:
    backend = "openvino" if contender.backend == EAGER else contender.backend
    file = bundle.file_for(backend, stage, contender.precision, get_backend(backend).capabilities.format)
    total: int = file.stat().st_size
    sizes = {"T": frames, "T+1": frames + 1, "T'": feature_length(frames)}
    for tensor in (*bundle.entry(stage).inputs, *bundle.entry(stage).outputs):
        shape = [size if isinstance(size, int) else sizes.get(size, frames) for size in tensor.shape]
        total += prod(shape) * np.dtype(tensor.dtype).itemsize
    return total

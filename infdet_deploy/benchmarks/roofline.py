"""What the machine could do at best, measured: products a second in each precision, bytes a second; and the floor that
this sets for the network."""

import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from infdet_deploy.benchmarks.workers import runs_on_gpu
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.processes import start_deaf
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.snippets import feature_length
from infdet_deploy.system import cpu_count

SIDE = 2048  # of the square matrices
BEST_OF = 5
COPIED_BYTES = 512 * 2**20  # far beyond every cache
COUNTED_FRAMES = 100  # of the clip that a manifest's `multiply_adds` are for
# What a CPU computes a precision in; OpenVINO's name of the type.
_TYPES = {"float32": ("f32",), "bfloat16": ("bf16",), "int8": ("i8", "u8")}
_PRODUCTS = ("FullyConnected", "MatMul")

NO_COUNT = "no roofline: this bundle's manifest holds no multiply_adds; export it again with this version"


def measure_peaks(side: int = SIDE, copied_bytes: int = COPIED_BYTES) -> dict[str, Any]:
    """`multiply_adds_per_s` by precision, None where the processor does not compute in it, and `bytes_per_s`.

    In a process of its own, which leaves neither memory nor threads behind. bytes_per_s counts what a copy reads and
    what it writes.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, side, copied_bytes), daemon=True)
    try:
        start_deaf(child)
        theirs.close()
        found = ours.recv()
    except EOFError:  # not what the user asked for: without peaks there is no roofline, and the rest stands
        found = {"multiply_adds_per_s": dict.fromkeys(_TYPES), "bytes_per_s": None}
    finally:
        child.join(1)
        child.kill()
    return found


def better(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The higher of two measurements of `measure_peaks`, figure by figure."""
    rates = {
        precision: max((rate for rate in (one, second["multiply_adds_per_s"][precision]) if rate), default=None)
        for precision, one in first["multiply_adds_per_s"].items()
    }
    bandwidth = max((rate for rate in (first["bytes_per_s"], second["bytes_per_s"]) if rate), default=None)
    return {"multiply_adds_per_s": rates, "bytes_per_s": bandwidth}


def _child(pipe: Connection, side: int, copied_bytes: int) -> None:
    rates = {precision: product_rate(precision, side) for precision in _TYPES}
    pipe.send({"multiply_adds_per_s": rates, "bytes_per_s": copy_rate(copied_bytes)})


def product_rate(precision: str, side: int = SIDE) -> float | None:
    """Multiply-adds a second of a square matrix product, the best of several; None where the executed graph says that
    it computes in another type."""
    import openvino

    from infdet_deploy.runtime.backends.openvino import properties

    options = {**properties("latency"), "PERF_COUNT": "YES"}
    compiled = openvino.Core().compile_model(_product(precision, side), "CPU", options)
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
    for _ in range(BEST_OF):
        request.infer()
        # the product's own time: int8 has a step before it that makes the integers
        seconds.append(max(one.real_time.total_seconds() for one in request.profiling_info))
    return side**3 / min(seconds)


def _product(precision: str, side: int) -> Any:
    """A graph of one product of its input [side, side] and a constant of the same shape."""
    import openvino
    from openvino import opset13 as ops

    values = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    kind = openvino.Type.bf16 if precision == "bfloat16" else openvino.Type.f32
    given = ops.parameter([side, side], kind)
    left, right = given, ops.constant(values)
    if precision == "bfloat16":
        right = ops.convert(right, kind)
    elif precision == "int8":

        def scalar(value: float) -> Any:
            return ops.constant(np.float32(value))

        left = ops.fake_quantize(given, scalar(0), scalar(2.55), scalar(0), scalar(2.55), 256)
        right = ops.fake_quantize(right, scalar(-5), scalar(5), scalar(-5), scalar(5), 255)
    return openvino.Model([ops.matmul(left, right, False, True)], [given])


def copy_rate(copied_bytes: int = COPIED_BYTES) -> float:
    """Bytes a second, read and written, of copying arrays on all CPUs at once, the best of several."""
    workers = cpu_count()
    source = np.ones((workers, copied_bytes // workers // 8))
    target = np.zeros_like(source)
    seconds = []
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(BEST_OF):
            start = time.perf_counter()
            list(pool.map(np.copyto, target, source))
            seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


def stage_work(bundle: Bundle, frames: int) -> dict[str, dict[str, Any]] | None:
    """For each stage `multiply_adds`, of the exported graph, and `multiply_adds_original`, of the network as published,
    for a clip of `frames` frames; None where the manifest does not hold them.

    Work grows with the clip; only the attention's grows faster, which is less than a thousandth of all.
    """
    work = {}
    for stage in bundle.stages:
        entry = bundle.manifest["stages"][stage]
        if not all(type(entry.get(key)) is int for key in ("multiply_adds", "multiply_adds_original")):
            return None
        work[stage] = {key: entry[key] * frames / COUNTED_FRAMES for key in ("multiply_adds", "multiply_adds_original")}
    return work


def stage_bytes(bundle: Bundle, stage: str, precision: str, backend: str, frames: int) -> int:
    """What a stage reads and writes at the least: its file, which is nearly all weights, its inputs and its outputs."""
    spec = bundle.manifest["stages"][stage]
    form = bundle.form_for(stage, precision, backend, get_backend(backend).capabilities.format)
    sizes = {"T": frames, "T+1": frames + 1, "T'": feature_length(frames)}
    total = bundle.manifest["files"][bundle.stage_file(stage, precision, form).name]["bytes"]
    for tensor in (*spec["inputs"], *spec["outputs"]):
        shape = [size if isinstance(size, int) else sizes.get(size, frames) for size in tensor["shape"]]
        total += prod(shape) * np.dtype(tensor["dtype"]).itemsize
    return total


def floors(
    bundle: Bundle, backend: str, precision: str, frames: int, peaks: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The least seconds that each stage can take on this machine in a precision: `stages`, a list of `stage`,
    `multiply_adds`, `bytes`, `floor_s`; and `precision`, the one that the processor computes in.

    The longer of work ÷ peak and bytes ÷ bandwidth. None without a count, a peak, or for what runs elsewhere than on
    the processor.
    """
    work = stage_work(bundle, frames)
    computed = {"float16": "float32"}.get(precision, precision)  # a CPU has no float16 products
    peak, bandwidth = peaks["multiply_adds_per_s"].get(computed), peaks["bytes_per_s"]
    if work is None or not peak or not bandwidth or runs_on_gpu(backend):
        return None
    rows = []
    for stage in bundle.stages:
        multiply_adds = work[stage]["multiply_adds"]
        size = stage_bytes(bundle, stage, precision, "openvino" if backend == "eager" else backend, frames)
        floor_s = max(multiply_adds / peak, size / bandwidth)
        rows.append({"stage": stage, "multiply_adds": multiply_adds, "bytes": size, "floor_s": floor_s})
    return {"precision": computed, "stages": rows}

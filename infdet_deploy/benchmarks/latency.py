"""How fast a bundle runs: whole-clip latency of every contender, in alternation, nothing dropped."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infdet_deploy.benchmarks.energy import ProcessorEnergy, open_gpu
from infdet_deploy.benchmarks.workers import (
    CUDA,
    FPS,
    SETTLE_S,
    Job,
    Ready,
    Run,
    Worker,
    capabilities,
    cuda_kind,
    runs_on_gpu,
)
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.files import user_cache
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import available_backends, backend_names, get_backend, is_available
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video.sample import sample_frames

WARM_UP_RUNS = 2  # the run that gives the first result, and one more
PAPER_FRAMES_PER_S = 290.0  # the paper, IV-C: 100-frame dummy video, mean of 100 runs, four V100
REAL_TIME_FPS = FPS


EAGER = "eager"  # the original network in eager PyTorch, as a contender
CUDA_KINDS = ("eager", "compile", "graph", "torchscript", "onnxruntime")
CUDA_PRECISIONS = ("float16", "bfloat16", "float32")  # the first where all are asked for


def contenders(
    bundle: Bundle, backends: str = "openvino", precisions: str = "all", performance: Performance = "latency"
) -> list[Contender]:
    """Those of the asked (comma-separated, or `all`) that the bundle holds and this machine can run; `all` leaves out
    those that cannot be tuned for the performance."""
    names = backends.split(",")
    if backends == "all":
        here = [b.name for b in available_backends() if performance == "latency" or b.capabilities.throughput]
        names = here + ([CUDA] if performance == "latency" and has_gpu() else [])
    for name in names:
        if name not in (*backend_names(), CUDA):
            raise UsageError(f"no backend '{name}'; backends are {', '.join((*backend_names(), CUDA))}, or all")
        if name != CUDA:
            get_backend(name).check_performance(performance)
        elif performance != "latency":
            raise UsageError("cuda has no throughput mode; use openvino, or leave performance out")
    found = []
    for name in names:
        if name == CUDA:
            found += _cuda_contenders(bundle, precisions, asked=backends != "all")
            continue
        backend = get_backend(name)
        form = backend.capabilities.format
        held = tuple(p for p in bundle.precisions_as(form) if backend.supports(p))
        wanted = held if precisions == "all" else precisions.split(",")
        for precision in wanted:
            if precision in held:
                # `all` leaves out what was not built for this device; asked for by name, that is an error
                files = [bundle.stage_file(stage, precision, form) for stage in bundle.stages]
                if backends == "all" and not all(backend.is_ready(file, precision) for file in files):
                    continue
                found.append(Contender(name, precision))
            elif backends != "all":
                if precision in bundle.precisions_as(form):
                    backend.check_supports(precision)
                raise UsageError(f"{bundle.path} has no {precision} for {name}; it has {', '.join(held) or 'none'}")
    if not found:
        raise UsageError(f"{bundle.path}: no contender for backends {backends} and precisions {precisions}")
    return found


def has_gpu() -> bool:
    """Whether an NVIDIA driver is installed here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _cuda_contenders(bundle: Bundle, precisions: str, asked: bool) -> list[Contender]:
    """asked: by name, so that what cannot be run is an error."""
    if not has_gpu():
        raise UsageError("--backends cuda: this machine has no NVIDIA GPU, or its driver is not installed")
    wanted = CUDA_PRECISIONS[:1] if precisions == "all" else precisions.split(",")
    found = [p for p in wanted if p in CUDA_PRECISIONS]
    if asked and found != [*wanted]:
        raise UsageError(f"cuda takes {', '.join(CUDA_PRECISIONS)}, not all of {precisions}")
    entries = [(kind, precision) for precision in found for kind in CUDA_KINDS]
    held = bundle.precisions_as("onnx")
    return [
        Contender(f"{CUDA}-{kind}", p)
        for kind, p in entries
        if kind != "onnxruntime" or (p in held and is_available(kind))
    ]


@dataclass
class Timed:
    """What was measured of one contender.

    first_start: where nothing was compiled yet; None for a backend that keeps nothing of it. ready: the start after it,
    of the process that is timed; None where it did not load. runs: the timed ones, in their order. peak_memory_bytes:
    of that process. joules: of all timed runs together, by `processor` and `gpu`, where the machine tells. gpu: what
    NVML told at the end of each run on a GPU. paper_s: seconds of a run by the paper's way of timing, of cuda
    contenders. error: why it did not finish, in one line.
    """

    contender: Contender
    first_start: Ready | None = None
    ready: Ready | None = None
    runs: list[Run] = field(default_factory=list)
    peak_memory_bytes: int = 0
    joules: dict[str, float] = field(default_factory=dict)
    gpu: list[dict[str, float]] = field(default_factory=list)
    paper_s: float | None = None
    error: str = ""


def measure(
    bundle: Bundle,
    entries: Sequence[Contender],
    frames: int,
    runs: int,
    on_run: Callable[[int, int, str], None] | None = None,
    preset: str | None = None,
    target: Callable[..., None] | None = None,
    performance: Performance = "latency",
) -> list[Timed]:
    """Time `runs` whole clips of `frames` frames per contender, one run of each in turn, each in its own process.

    A run goes from uint8 frames in memory to detections; for the performance `throughput` it is of several clips at the
    same time, as many as the contender takes at once. A contender that fails or dies has `error`; the others go on.
    preset: whose random weights the contender `eager` takes where the bundle holds none. target: what the processes
    run in place of `workers.serve`, for tests. Raises UsageError for a clip that is too short and for no runs.
    """
    if frames < MIN_FRAMES:
        raise UsageError(f"--frames is {frames}; a clip needs at least {MIN_FRAMES}")
    if runs < 1:
        raise UsageError(f"--runs is {runs}; at least 1 is needed")
    found = [Timed(entry) for entry in entries]
    total, done = (WARM_UP_RUNS + runs) * len(entries), 0

    def advance(entry: Contender) -> None:
        nonlocal done
        done += 1
        if on_run:
            on_run(done, total, entry.name)

    meter, gpu = ProcessorEnergy(), open_gpu() if any(runs_on_gpu(entry.backend) for entry in entries) else None
    with scratch() as folder, contextlib.ExitStack() as children:
        clip = Path(folder) / "clip.npy"
        np.save(clip, sample_frames(frames, bundle.size))
        workers: list[Worker | None] = []
        for one in found:
            entry = one.contender
            job = Job(bundle, entry.backend, entry.precision, clip, Path(folder), preset, performance)
            workers.append(None)
            try:  # one after another, so that each has the machine to itself while it loads
                known = capabilities(entry.backend)
                if known is not None and known.caches:
                    with contextlib.closing(Worker(entry.name, job, target)) as worker:
                        one.first_start = worker.ready()
                worker = Worker(entry.name, job, target)
                children.callback(worker.close)
                one.ready = worker.ready()
                workers[-1] = worker
            except BackendError as error:
                one.error = str(error)
            advance(entry)
        for run in range(1 - WARM_UP_RUNS, runs):
            for index, one in enumerate(found):
                worker_of = workers[index]
                if worker_of is not None:
                    time.sleep(SETTLE_S)
                    before, gpu_before = meter.read(), gpu.joules() if gpu else 0.0
                    try:
                        result = worker_of.run()
                    except BackendError as error:
                        one.error, workers[index] = str(error), None
                    else:
                        if run >= 0:
                            one.runs.append(result)
                            if meter.available:
                                used = meter.joules(before, meter.read())
                                one.joules["processor"] = one.joules.get("processor", 0.0) + used
                            if gpu and runs_on_gpu(one.contender.backend):
                                used = gpu.joules() - gpu_before
                                if used:  # else it does not count
                                    one.joules["gpu"] = one.joules.get("gpu", 0.0) + used
                                one.gpu.append(gpu.state())
                advance(one.contender)
        for one, worker_of in zip(found, workers, strict=True):
            if worker_of is not None:
                with contextlib.suppress(BackendError):
                    if cuda_kind(one.contender.backend):
                        one.paper_s = worker_of.paper_seconds(runs)
                    one.peak_memory_bytes = worker_of.peak_memory_bytes()
    return found


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A temporary folder for clips and stages, some GB: beside the user's cache rather than in memory."""
    try:
        user_cache().mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="bench-", dir=user_cache())
    except (OSError, RuntimeError):
        return tempfile.TemporaryDirectory()

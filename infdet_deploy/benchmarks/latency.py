"""How fast a bundle runs: whole-clip latency of every contender, in alternation, nothing dropped."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infdet_deploy.benchmarks.energy import ProcessorEnergy, gpu_energy
from infdet_deploy.benchmarks.workers import FPS, SETTLE_S, Job, Ready, Run, Worker
from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.files import user_cache
from infdet_deploy.runtime.backends.base import BACKENDS, CACHED, available, ready, stage_format, takes
from infdet_deploy.runtime.bundle import Bundle
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video.sample import sample_frames

WARM_UP_RUNS = 2  # the run that gives the first result, and one more
PAPER_FRAMES_PER_S = 290.0  # the paper, IV-C: 100-frame dummy video, mean of 100 runs, four V100
REAL_TIME_FPS = FPS


EAGER = "eager"  # the original network in eager PyTorch, as a contender


@dataclass(frozen=True)
class Contender:
    """One backend computing in one precision; backend `eager`: the original network, see `benchmarks/eager.py`."""

    backend: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.backend} {self.precision}"


def contenders(bundle: Bundle, backends: str = "openvino", precisions: str = "all") -> list[Contender]:
    """Those of the asked (comma-separated, or `all`) that the bundle holds and this machine can run."""
    names = [b for b in BACKENDS if available(b)] if backends == "all" else backends.split(",")
    for name in names:
        if name not in BACKENDS:
            raise UsageError(f"no backend '{name}'; backends are {', '.join(BACKENDS)}, or all")
    found = []
    for name in names:
        held = tuple(p for p in bundle.precisions_as(stage_format(name)) if takes(name, p))
        wanted = held if precisions == "all" else precisions.split(",")
        for precision in wanted:
            if precision in held:
                # `all` leaves out what was not built for this device; asked for by name, that is an error
                files = [bundle.stage_file(stage, precision, stage_format(name)) for stage in bundle.stages]
                if backends == "all" and not all(ready(name, file, precision) for file in files):
                    continue
                found.append(Contender(name, precision))
            elif backends != "all":
                raise UsageError(f"{bundle.path} has no {precision} for {name}; it has {', '.join(held) or 'none'}")
    if not found:
        raise UsageError(f"{bundle.path}: no contender for backends {backends} and precisions {precisions}")
    return found


@dataclass
class Timed:
    """What was measured of one contender.

    first_start: where nothing was compiled yet; None for a backend that keeps nothing of it. ready: the start after it,
    of the process that is timed; None where it did not load. runs: the timed ones, in their order. peak_memory_bytes:
    of that process. joules: of all timed runs together, by `processor` and `gpu`, where the machine tells. error: why
    it did not finish, in one line.
    """

    contender: Contender
    first_start: Ready | None = None
    ready: Ready | None = None
    runs: list[Run] = field(default_factory=list)
    peak_memory_bytes: int = 0
    joules: dict[str, float] = field(default_factory=dict)
    error: str = ""


def measure(
    bundle: Bundle,
    entries: Sequence[Contender],
    frames: int,
    runs: int,
    on_run: Callable[[int, int, str], None] | None = None,
    preset: str | None = None,
    target: Callable[..., None] | None = None,
) -> list[Timed]:
    """Time `runs` whole clips of `frames` frames per contender, one run of each in turn, each in its own process.

    A run goes from uint8 frames in memory to detections. A contender that fails or dies has `error`; the others go on.
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

    meter, gpu = ProcessorEnergy(), gpu_energy() if any(e.backend == "tensorrt" for e in entries) else None
    with _scratch() as folder, contextlib.ExitStack() as children:
        clip = Path(folder) / "clip.npy"
        np.save(clip, sample_frames(frames, bundle.size))
        workers: list[Worker | None] = []
        for one in found:
            entry = one.contender
            job = Job(bundle, entry.backend, entry.precision, clip, Path(folder), preset)
            workers.append(None)
            try:  # one after another, so that each has the machine to itself while it loads
                if entry.backend in CACHED:
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
                    before, gpu_before = meter.read(), gpu() if gpu else 0.0
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
                            if gpu and one.contender.backend == "tensorrt":
                                one.joules["gpu"] = one.joules.get("gpu", 0.0) + gpu() - gpu_before
                advance(one.contender)
        for one, worker_of in zip(found, workers, strict=True):
            if worker_of is not None:
                with contextlib.suppress(BackendError):
                    one.peak_memory_bytes = worker_of.peak_memory_bytes()
    return found


def _scratch() -> "tempfile.TemporaryDirectory[str]":
    """A temporary folder for the clip and compiled stages, some GB: beside the user's cache rather than in memory."""
    try:
        user_cache().mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="bench-", dir=user_cache())
    except (OSError, RuntimeError):
        return tempfile.TemporaryDirectory()

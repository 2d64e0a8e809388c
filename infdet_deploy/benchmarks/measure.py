"""Latency of whole clips: contenders take turns, one run each, and no timed run is dropped."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infdet_deploy.benchmarks.contenders import caches_stages, cuda_kind, runs_on_gpu
from infdet_deploy.benchmarks.energy import EnergyMeter
from infdet_deploy.benchmarks.workers import Job, Ready, Run, Worker, serve
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.console import OnProgress
from infdet_deploy.errors import BackendError
from infdet_deploy.files import user_cache
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.video.sample import sample_frames

WARM_UP_RUNS = 2  # the run of the first result, and one more
# PyTorch's threads spin for some milliseconds before they sleep; the next contender starts after that.
SETTLE_S = 0.02


@dataclass
class Timed:
    """The measurements of one contender.

    first_start: without compiled stages in the cache; None for a backend that caches none. ready: the start of the
    process that is timed; None where it failed. runs: timed runs in order. joules: of all timed runs, by `processor`
    and `gpu`, if there are counters. paper_s: seconds of a run of a cuda contender as the paper measures. error:
    why the contender did not finish, in one line.
    """

    contender: Contender
    first_start: Ready | None = None
    ready: Ready | None = None
    runs: list[Run] = field(default_factory=list)
    peak_memory_bytes: int = 0
    joules: dict[str, float] = field(default_factory=dict)
    paper_s: float | None = None
    error: str = ""


def measure(
    jobs: Sequence[Job], runs: int, on_progress: OnProgress | None = None, target: Callable[..., None] = serve
) -> list[Timed]:
    """Time `runs` runs of every job, one run each in turn. A contender that fails gets `error`; the others continue.

    A run goes from uint8 frames in memory to detections; with performance `throughput` it has as many
    concurrent clips as the contender supports. target: runs in the processes.
    """
    timed = [Timed(job.contender) for job in jobs]
    meter = EnergyMeter(any(runs_on_gpu(job.contender.backend) for job in jobs))
    total, done = (WARM_UP_RUNS + runs) * len(jobs), 0

    def advance(contender: Contender) -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total, contender.name)

    with contextlib.ExitStack() as processes:
        workers: list[Worker | None] = []
        for job, one in zip(jobs, timed, strict=True):  # one after another: loading needs the whole machine
            workers.append(_start(job, one, processes, target))
            advance(job.contender)
        for number in range(1 - WARM_UP_RUNS, runs):
            for worker, one in zip(workers, timed, strict=True):
                if worker is not None and not one.error:
                    _run(worker, one, meter, keep=number >= 0)
                advance(one.contender)
        for worker, one in zip(workers, timed, strict=True):
            if worker is not None and not one.error:
                with contextlib.suppress(BackendError):
                    if cuda_kind(one.contender.backend):
                        one.paper_s = worker.ask(runs)
                    one.peak_memory_bytes = worker.ask("peak memory")
    return timed


def _start(job: Job, one: Timed, processes: contextlib.ExitStack, target: Callable[..., None]) -> Worker | None:
    """Start a contender's process; if its backend caches compiled stages, an extra start fills the cache first."""
    try:
        if caches_stages(job.contender.backend):
            with contextlib.closing(Worker(job.contender.name, target, job)) as first:
                one.first_start = first.receive()
        worker = processes.enter_context(contextlib.closing(Worker(job.contender.name, target, job)))
        one.ready = worker.receive()
    except BackendError as error:
        one.error = str(error)
        return None
    return worker


def _run(worker: Worker, one: Timed, meter: EnergyMeter, keep: bool) -> None:
    """One run of one contender, which sets `error` where it fails. keep: False for a warm-up run."""
    time.sleep(SETTLE_S)
    meter.start()
    try:
        run = worker.ask("run")
    except BackendError as error:
        one.error = str(error)
        return
    if keep:
        for name, joules in meter.stop().items():
            if name != "gpu" or runs_on_gpu(one.contender.backend):
                one.joules[name] = one.joules.get(name, 0.0) + joules
        one.runs.append(run)


@contextlib.contextmanager
def clip_jobs(
    bundle: Bundle, contenders: Sequence[Contender], frames: int, preset: str | None, performance: Performance
) -> Iterator[list[Job]]:
    """The contenders' jobs, with a generated clip of `frames` frames and an empty cache in a temporary folder."""
    try:  # some GB of compiled stages: on the disk of the user's cache, not in memory
        user_cache().mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix="bench-", dir=user_cache())
    except (OSError, RuntimeError):
        scratch = tempfile.TemporaryDirectory()
    with scratch as name:
        folder = Path(name)
        np.save(folder / "clip.npy", sample_frames(frames, bundle.size))
        yield [Job(bundle, entry, folder / "clip.npy", folder, preset, performance) for entry in contenders]

"""Contenders in separate processes: only one computes at a time, the others wait on a pipe.

So each process has its own peak memory, and libraries do not share threads. The processes belong to the parent's
process group, sleep while they wait, and end with the parent.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infdet_deploy.benchmarks.contenders import EAGER, cuda_kind
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.detections import Detection
from infdet_deploy.errors import BackendError, first_line, one_line
from infdet_deploy.processes import start_ignoring_sigint
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.results import detections_of
from infdet_deploy.system import peak_memory_bytes
from infdet_deploy.video.timeline import DEFAULT_FPS

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]
# frames uint8 [T, S, S], and a dict that gains the seconds of each stage → features by name, scores
Scores = Callable[[Frames, dict[str, float]], tuple[dict[str, Floats], Floats]]


@dataclass(frozen=True)
class Job:
    """What a process runs. clip: a .npy file, uint8 [T, S, S], so that the memory of preparing it is not counted.

    cache: a folder instead of the user's cache; preset: its seeded random weights serve the networks in PyTorch
    where the bundle contains no weights.
    """

    bundle: Bundle
    contender: Contender
    clip: Path
    cache: Path
    preset: str | None = None
    performance: Performance = "latency"


@dataclass(frozen=True)
class Answer:
    """A contender's results for the clip. features: by name, float32 [T', d]; scores: float32 [T', C]."""

    features: dict[str, Floats]
    scores: Floats
    detections: list[Detection]


@dataclass(frozen=True)
class Run:
    """Seconds of one run: from frames to detections for all its clips, and of every stage of the first clip."""

    latency_s: float
    stages_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """Seconds from the bundle on disk to compiled stages, and to the first result, with any lazy initialisation."""

    load_s: float
    first_result_s: float


@dataclass(frozen=True)
class Ready:
    """A loaded contender. clips: concurrent clips of a run."""

    start: Start
    answer: Answer
    clips: int = 1


class Worker:
    """A process of its own that answers requests over a pipe.

    An answer of text is the process's error. Methods raise BackendError for it, and when the process dies.
    """

    def __init__(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        """target: called in the process with its end of the pipe and the arguments."""
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        start_ignoring_sigint(self._process)
        theirs.close()

    def ask(self, request: object) -> Any:
        """Send a request and wait for its answer."""
        try:
            self._pipe.send(request)
        except OSError:
            raise self._died() from None
        return self.receive()

    def receive(self) -> Any:
        """Wait for the next answer."""
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(answer, str):
            raise BackendError(f"{self.name}: {answer}")
        return answer

    def close(self) -> None:
        """End the process, even while it computes."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _died(self) -> BackendError:
        self._process.join(5)
        code = self._process.exitcode
        how = "no exit status" if code is None else signal.Signals(-code).name if code < 0 else f"exit status {code}"
        memory = "; the system may be out of memory" if how == "SIGKILL" else ""
        return BackendError(f"{self.name} died ({how}){memory}")


def serve(pipe: Connection, job: Job) -> None:
    """In the child: load, run once and send a `Ready`, then answer requests until the pipe closes.

    Requests: `run` for a `Run`; `peak memory` for bytes; a number of runs for a cuda contender's `paper_seconds`.
    """
    try:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            _serve(pipe, job)
    except Exception as error:  # every library raises its own errors
        text = one_line(error) or first_line(error)
        with contextlib.suppress(OSError):
            pipe.send(" ".join(text.split()))


def _serve(pipe: Connection, job: Job) -> None:
    os.environ["XDG_CACHE_HOME"] = str(job.cache)
    frames = np.load(job.clip)
    start = time.perf_counter()
    score, clips, paper_seconds = _open(job, len(frames))
    loaded = time.perf_counter()
    features, scores = score(frames, {})
    detections = detections_of(job.bundle, scores, len(frames), DEFAULT_FPS)
    begun = Start(loaded - start, time.perf_counter() - start)
    pipe.send(Ready(begun, Answer(dict(features), scores, detections), clips))
    threads = ThreadPoolExecutor(clips)
    while True:
        request = pipe.recv()
        if request == "run":
            pipe.send(timed_run(job.bundle, score, frames, clips, threads))
        elif request == "peak memory":
            pipe.send(peak_memory_bytes())
        elif isinstance(request, int) and paper_seconds is not None:
            pipe.send(paper_seconds(request))
        else:
            raise AssertionError(f"unknown request {request!r}")


def timed_run(bundle: Bundle, score: Scores, frames: Frames, clips: int, threads: ThreadPoolExecutor) -> Run:
    """Score and detect in `clips` concurrent clips."""

    def clip(seconds: dict[str, float]) -> None:
        _, scores = score(frames, seconds)
        scored = time.perf_counter()
        detections_of(bundle, scores, len(frames), DEFAULT_FPS)
        seconds["detections"] = time.perf_counter() - scored

    seconds: list[dict[str, float]] = [{} for _ in range(clips)]
    start = time.perf_counter()
    if clips == 1:
        clip(seconds[0])
    else:
        list(threads.map(clip, seconds))
    return Run(time.perf_counter() - start, seconds[0])


def _open(job: Job, frames: int) -> tuple[Scores, int, Callable[[int], float] | None]:
    """The loaded contender: its function, its number of concurrent clips, and for cuda `paper_seconds`."""
    backend, precision = job.contender.backend, job.contender.precision
    if kind := cuda_kind(backend):
        from infdet_deploy.benchmarks.cuda import open_contender

        contender = open_contender(kind, job.bundle, precision, job.preset, frames)
        return lambda clip, seconds: ({}, contender.scores(clip)), 1, contender.paper_seconds
    if backend == EAGER:
        from infdet_deploy.benchmarks import eager

        network = eager.reference_network(job.bundle, job.preset)
        return lambda clip, seconds: eager.run(network, clip[: frames // 4 * 4], seconds), 1, None
    detector = Detector(job.bundle.path, backend, precision, performance=job.performance)

    def score(clip: Frames, seconds: dict[str, float]) -> tuple[dict[str, Floats], Floats]:
        features = detector.features(clip, seconds)
        return features, detector.scores_of(features, frames, seconds)

    return score, detector.concurrency, None

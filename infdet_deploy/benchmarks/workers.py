"""Contenders in processes of their own: only the one that is asked computes, the others wait on a pipe.

Each process so shows its own peak memory, and no library's threads meet another's. All belong to the process group of
the parent, wait without spinning, and end with it.
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

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.detections import Detection
from infdet_deploy.errors import BackendError, first_line, one_line
from infdet_deploy.processes import start_deaf
from infdet_deploy.runtime.backends.base import Capabilities, Performance
from infdet_deploy.runtime.backends.registry import backend_names, get_backend
from infdet_deploy.runtime.detector import Detector, detections_of
from infdet_deploy.system import peak_memory_bytes

FPS = 25.0
# PyTorch's threads look for more work for some milliseconds before they sleep; the next contender starts after that.
SETTLE_S = 0.02


CUDA = "cuda"  # as a backend: all that `benchmarks/cuda.py` runs on an NVIDIA GPU, each a contender `cuda-KIND`


@dataclass(frozen=True)
class Job:
    """What a process is to run. clip: a .npy file, uint8 [T, S, S], which preparing the input leaves out of its memory.

    backend: one of the runtime's, `eager`, or `cuda-KIND`; cache: a folder in place of the user's cache; preset: whose
    seeded random weights `eager` takes where the bundle holds none; performance: as the runtime's backends take it.
    """

    bundle: Bundle
    backend: str
    precision: str
    clip: Path
    cache: Path
    preset: str | None = None
    performance: Performance = "latency"


@dataclass(frozen=True)
class Answer:
    """What a contender finds in the clip. features: by name, float32 [T', d]; scores: float32 [T', C]."""

    features: dict[str, np.ndarray]
    scores: np.ndarray
    detections: list[Detection]


@dataclass(frozen=True)
class Run:
    """Seconds of one run: from frames to detections, of all its clips, and of every stage of the first clip."""

    latency_s: float
    stages_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ready:
    """load_s: from the bundle on disk, unchecked, to compiled stages; first_s: the first clip, which many a library
    prepares in; clips: of a run, all at the same time."""

    load_s: float
    first_s: float
    answer: Answer
    clips: int = 1


Scores = Callable[[np.ndarray, dict[str, float]], tuple[dict[str, np.ndarray], np.ndarray]]


class Worker:
    """A contender in its process. Every method raises BackendError, in one line, when the process fails or dies."""

    def __init__(self, name: str, job: Job, target: Callable[..., None] | None = None) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target or serve, args=(theirs, job), daemon=True)
        start_deaf(self._process)
        theirs.close()

    def ready(self) -> Ready:
        """Wait until the contender is loaded and has given its first result."""
        return self._receive()

    def run(self) -> Run:
        """One run of the whole clip."""
        return self._ask("run")

    def paper_seconds(self, runs: int) -> float:
        """Seconds of a run as the paper times it; of cuda contenders, see `benchmarks/cuda.py`."""
        return self._ask(runs)

    def peak_memory_bytes(self) -> int:
        """The most memory that the process has held: interpreter, libraries, weights, clip and activations."""
        return self._ask("peak memory")

    def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, what: str | int) -> Any:
        try:
            self._pipe.send(what)
        except OSError:
            raise self._died() from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(answer, str):
            raise BackendError(f"{self.name}: {answer}")
        return answer

    def _died(self) -> BackendError:
        self._process.join(5)
        code = self._process.exitcode
        how = "no exit status" if code is None else f"exit status {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        memory = "; the system may have had no memory left" if how == "SIGKILL" else ""
        return BackendError(f"{self.name} died ({how}){memory}")


def serve(pipe: Connection, job: Job) -> None:
    """The child: load, run once, then do what the pipe asks until it ends. Answers are objects, errors are texts."""
    try:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            _serve(pipe, job)
    except Exception as error:  # each library has errors of its own
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
    found = detections_of(job.bundle, scores, len(frames), FPS)
    first_s = time.perf_counter() - loaded
    pipe.send(Ready(loaded - start, first_s, Answer(dict(features), scores, found), clips))
    threads = ThreadPoolExecutor(clips)
    while True:
        what = pipe.recv()
        if what == "run":
            pipe.send(_timed(job.bundle, score, frames, clips, threads))
        elif isinstance(what, int):
            pipe.send(paper_seconds(what))
        else:
            pipe.send(peak_memory_bytes())


def _timed(bundle: Bundle, score: Scores, frames: np.ndarray, clips: int, threads: ThreadPoolExecutor) -> Run:
    def clip(seconds: dict[str, float]) -> None:
        _, scores = score(frames, seconds)
        scored = time.perf_counter()
        detections_of(bundle, scores, len(frames), FPS)
        seconds["detections"] = time.perf_counter() - scored

    seconds: list[dict[str, float]] = [{} for _ in range(clips)]
    start = time.perf_counter()
    if clips == 1:
        clip(seconds[0])
    else:
        list(threads.map(clip, seconds))
    return Run(time.perf_counter() - start, seconds[0])


def cuda_kind(backend: str) -> str:
    """KIND of a backend `cuda-KIND`, of those in `benchmarks/cuda.py`; empty for any other backend."""
    family, _, kind = backend.partition("-")
    return kind if family == CUDA else ""


def capabilities(backend: str) -> Capabilities | None:
    """What a backend of the runtime supports; None for `eager` and `cuda-KIND`."""
    return get_backend(backend).capabilities if backend in backend_names() else None


def runs_on_gpu(backend: str) -> bool:
    """Whether a contender's backend computes on an NVIDIA GPU."""
    known = capabilities(backend)
    return bool(cuda_kind(backend)) or (known is not None and known.on_gpu)


def _no_paper_seconds(runs: int) -> float:
    raise BackendError("the paper's way of timing is for contenders on a GPU")


def _open(job: Job, frames: int) -> tuple[Scores, int, Callable[[int], float]]:
    """The contender, loaded, as a function from frames to features and scores that also gives the seconds a stage; how
    many clips it takes at once; and its seconds by the paper's way of timing."""
    kind = cuda_kind(job.backend)
    if kind:
        from infdet_deploy.benchmarks.cuda import open_contender

        contender = open_contender(kind, job.bundle, job.precision, job.preset, frames)
        return lambda clip, seconds: ({}, contender.scores(clip, seconds)), 1, contender.paper_seconds
    if job.backend == "eager":
        from infdet_deploy.benchmarks import eager
        from infdet_deploy.bundle.loading import WEIGHTS

        weights = job.bundle.path / WEIGHTS
        network = eager.reference_network(weights if weights.is_file() else None, job.preset)
        return lambda clip, seconds: eager.run(network, clip[: frames // 4 * 4], seconds), 1, _no_paper_seconds
    detector = Detector(job.bundle.path, job.backend, job.precision, performance=job.performance)

    def score(clip: np.ndarray, seconds: dict[str, float]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        features = detector.features(clip, seconds)
        return features, detector.scores_of(features, frames, seconds)

    return score, detector.concurrency, _no_paper_seconds

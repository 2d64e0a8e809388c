"""How fast a bundle runs: whole-clip latency of every contender, in alternation, nothing dropped."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from infdet_deploy import __version__
from infdet_deploy.errors import UsageError
from infdet_deploy.machine import cpu_count, peak_memory_bytes, processor_name
from infdet_deploy.runtime.backends.base import BACKENDS, available, ready, stage_format, takes
from infdet_deploy.runtime.bundle import Bundle
from infdet_deploy.runtime.pipeline import Detector
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video.sample import sample_frames

WARM_UP_RUNS = 2
PAPER_FRAMES_PER_S = 290.0  # the paper, IV-C: 100-frame dummy video, mean of 100 runs, four V100
REAL_TIME_FPS = 25.0


@dataclass(frozen=True)
class Contender:
    """One backend computing in one precision."""

    backend: str
    precision: str


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


def measure(
    bundle: Bundle, entries: list[Contender], frames: int, runs: int, on_run: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Time `runs` whole clips of `frames` frames per contender, one run of each in turn.

    A run goes from uint8 frames in memory to detections. Returns a JSON-ready report: `contenders` with `latency_ms`
    and `frames_per_s` (median, p10, p90, p99, min, max; for latencies large is slow) and `stages_ms` (medians).
    """
    if frames < MIN_FRAMES:
        raise UsageError(f"--frames is {frames}; a clip needs at least {MIN_FRAMES}")
    if runs < 1:
        raise UsageError(f"--runs is {runs}; at least 1 is needed")
    clip = sample_frames(frames, bundle.size)
    detectors = [Detector(bundle, c.backend, c.precision) for c in entries]
    latency: list[list[float]] = [[] for _ in entries]
    stages: list[list[dict[str, float]]] = [[] for _ in entries]
    total = (WARM_UP_RUNS + runs) * len(entries)
    for run in range(-WARM_UP_RUNS, runs):
        for index, detector in enumerate(detectors):
            seconds: dict[str, float] = {}
            start = time.perf_counter()
            scores = detector.scores(clip, seconds)
            scored = time.perf_counter()
            detector.detections(scores, frames, REAL_TIME_FPS)
            end = time.perf_counter()
            if run >= 0:
                latency[index].append(end - start)
                stages[index].append(seconds | {"detections": end - scored})
            if on_run:
                on_run((run + WARM_UP_RUNS) * len(entries) + index + 1, total)
    for detector in detectors:
        detector.close()
    rows = []
    for entry, times, parts in zip(entries, latency, stages, strict=True):
        ms = np.array(times) * 1000
        rate = frames / np.array(times)
        rows.append(
            {
                "backend": entry.backend,
                "precision": entry.precision,
                "frames_per_s": _spread(rate),
                "latency_ms": _spread(ms),
                "stages_ms": {
                    name: float(np.median([p[name] for p in parts]) * 1000) for name in (*bundle.stages, "detections")
                },
                "real_time_factor": float(np.median(rate) / REAL_TIME_FPS),
            }
        )
    return {
        "bundle": bundle.name,
        "network": bundle.manifest["model"],
        "frames": frames,
        "runs": runs,
        "warm_up_runs": WARM_UP_RUNS,
        "device": processor_name(),
        "cores": cpu_count(),
        "versions": {"infdet-deploy": __version__, "python": platform.python_version()},
        "peak_memory_mb": peak_memory_bytes() / 2**20,
        "paper": {"frames_per_s": PAPER_FRAMES_PER_S, "device": "4 x V100, Xeon E5 2.2 GHz"},
        "contenders": rows,
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    points = {"min": 0, "p10": 10, "median": 50, "p90": 90, "p99": 99, "max": 100}
    return {name: float(np.percentile(values, point)) for name, point in points.items()}

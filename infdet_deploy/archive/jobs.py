"""Recordings through a detector: one after another here, or several at once in processes with a share of the CPUs."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infdet_deploy.archive.recordings import Recording
from infdet_deploy.archive.results import RecordingResult
from infdet_deploy.console import say
from infdet_deploy.errors import InfdetError, UsageError, one_line
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.video.block_reader import frames_at

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from infdet_deploy.archive.detect import DetectOptions
    from infdet_deploy.runtime.detector import Detector
    from infdet_deploy.runtime.results import Analysis

FPS_FACTOR = 1.5  # a frame rate further than this from the training clips' is worth a note

_worker_detector: "Detector | None" = None  # in a worker process


def run_jobs(
    bundle: Path,
    recordings: Sequence[Recording],
    options: "DetectOptions",
    on_frames: Callable[[Recording, int], None],
) -> Iterator[tuple[Recording, RecordingResult]]:
    """Every recording with its result, as they finish.

    on_frames: called with a recording and how many of its frames are done; not called from other processes.
    Raises BundleError, BackendError or UsageError before the first recording, InfdetError when a process dies.
    """
    workers = min(options.jobs, len(recordings))
    with _open_detector(bundle, options) as detector:  # errors in the bundle or the options appear once, here
        if workers == 1:
            for recording in recordings:
                yield recording, _detect_one(options, recording, detector, partial(on_frames, recording))
            return
    shares = multiprocessing.get_context("spawn").SimpleQueue()
    for share in _cpu_shares(workers):
        shares.put(share)
    jobs = [(options, recording) for recording in recordings]
    try:
        for index, result in in_processes(_detect_one, jobs, workers, _start_worker, (shares, bundle, options)):
            yield recordings[index], result
    except BrokenProcessPool:
        raise InfdetError("a process died, perhaps out of memory; give fewer --jobs") from None


def _cpu_shares(workers: int) -> list[list[int]]:
    """The CPUs of each process: equal parts, or all CPUs where there are fewer CPUs than processes."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    each = len(cpus) // workers
    return [cpus[i * each : (i + 1) * each] for i in range(workers)] if each else [cpus] * workers


def _start_worker(shares: "SimpleQueue[list[int]]", bundle: Path, options: "DetectOptions") -> None:
    """Runs first in each process. Processes that all compute on all CPUs would wait for one another."""
    global _worker_detector
    share = shares.get()
    if share:
        os.sched_setaffinity(0, share)
    _worker_detector = _open_detector(bundle, options)


def _open_detector(bundle: Path, options: "DetectOptions") -> "Detector":
    from infdet_deploy.bundle.thresholds import with_thresholds
    from infdet_deploy.runtime.detector import Detector

    detector = Detector(bundle, options.backend, options.precision, performance=options.performance)
    detector.bundle = with_thresholds(detector.bundle, options.thresholds)
    return detector


def _detect_one(
    options: "DetectOptions",
    recording: Recording,
    detector: "Detector | None" = None,
    on_frames: Callable[[int], None] | None = None,
) -> RecordingResult:
    """detector: default: the one of this process."""
    path, detector = recording.path, detector or _worker_detector
    assert detector is not None
    try:
        found = detector.analyse(path, options.fps, on_frames, options.resample, options.strict, options.invert)
        found = replace(found, name=recording.name)
        for note in found.notes:
            say(f"{found.name}: {note}")
        if not options.resample:
            _compare_rates(found, detector.bundle.fps)
        picture = None
        if options.picture is not None:
            file = options.picture / recording.result.with_suffix(".png")
            picture = _draw(detector, path, options, found, file)
    except UsageError:
        raise
    except (InfdetError, OSError) as error:
        return RecordingResult(path, recording.name, error=one_line(error))
    length, detections = (found.frames, found.fps, found.duration_s), tuple(found.detections)
    return RecordingResult(path, found.name, *length, float(found.scores.max()), detections, picture)


def _draw(detector: "Detector", path: Path, options: "DetectOptions", found: "Analysis", file: Path) -> Path:
    from infdet_deploy.plots.clip import VideoPreview, draw_clip

    bundle, steps = detector.bundle, detector.preparation(options.resample, options.invert)
    shown = VideoPreview(found.name, found.parts, lambda picks: frames_at(path, picks, steps, options.fps, MIN_FRAMES))
    return draw_clip(file, shown, found.scores, bundle.classes, bundle.rule, found.detections)


def _compare_rates(found: "Analysis", trained: float | None) -> None:
    """Note a frame rate at which motion looks much faster or slower than in training."""
    if trained is not None and not 1 / FPS_FACTOR <= found.fps / trained <= FPS_FACTOR:
        say(
            f"{found.name}: {found.fps:g} frames/s, but the network was trained at {trained:g}: expect worse "
            "detections; leave out --no-resample, or give the right rate with --fps"
        )

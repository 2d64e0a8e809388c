"""A clip in steps against the whole clip: seconds a step, cost a frame, and what a stream keeps between its steps.

Both go from uint8 frames to features, in turn and in one process; the head is neither's. Steps are those of a stream
that has run for longer than the towers look back, as a camera's has. Cost is told twice: of the clock, and of the
processor's time, which other programs on the machine change far less.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from infdet_deploy.benchmarks.latency import Contender
from infdet_deploy.benchmarks.statistics import summary
from infdet_deploy.bundle.loading import TOWERS, Bundle, stream_stage
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.snippets import STEP_FRAMES
from infdet_deploy.video.sample import sample_frames

CLIP_STEPS = 4  # steps that the clip of every run has
LEAST_RUNS, MOST_RUNS = 7, 20  # of such clips, whole and in steps


def in_steps(bundle: Bundle, entries: Iterable[Contender]) -> list[Contender]:
    """The contenders that can take a clip in steps; none for a bundle without steps."""
    if bundle.stream is None:
        return []
    towers = [stream_stage(stage) for stage in bundle.stages if stage in TOWERS]

    def can(entry: Contender) -> bool:
        return get_backend(entry.backend).capabilities.format == "onnx" and all(
            entry.precision in bundle.entry(tower)["files"].get("onnx", {})
            and get_backend(entry.backend).is_ready(bundle.stage_file(tower, entry.precision), entry.precision)
            for tower in towers
        )

    return [entry for entry in entries if can(entry)]


def measure_steps(bundle: Bundle, entry: Contender, runs: int, step_frames: int = STEP_FRAMES) -> dict[str, Any]:
    """Both ways of one contender, JSON-ready: docs/bench.md has the schema.

    A run is a clip of `CLIP_STEPS` steps, whole and then stepped. There are `runs` of them, but at least `LEAST_RUNS`
    and at most `MOST_RUNS`.
    """
    frames = sample_frames(CLIP_STEPS * step_frames, bundle.size)
    with (
        Detector(bundle, entry.backend, entry.precision) as detector,
        StreamModel(bundle, entry.backend, entry.precision, step_frames) as model,
    ):
        stream = model.stream()
        parts = np.split(frames, CLIP_STEPS)
        whole, steps, work = [], [], []
        for run in range(-1, min(max(runs, LEAST_RUNS), MOST_RUNS)):  # the first one warms up
            began = time.process_time()
            offline = _seconds(lambda: detector.features(frames))
            between = time.process_time()
            stepped = [_seconds(lambda part=part: stream.push(part)) for part in parts]  # type: ignore[misc]
            if run >= 0:
                whole.append(1000 * offline / len(frames))
                steps.append([1000 * seconds for seconds in stepped])
                work.append((time.process_time() - between) / (between - began))
        per_frame = [sum(run) / len(frames) for run in steps]
        return {
            "contender": entry.name,
            "step_frames": step_frames,
            "step_ms": summary([ms for run in steps for ms in run]),
            "frame_ms": summary(per_frame),
            "offline_frame_ms": summary(whole),
            "cost": float(np.median(per_frame) / np.median(whole)),
            "processor_cost": float(np.median(work)),
            "state_mb": stream.state_bytes / 1e6,
            "delay_frames": model.delay_frames,
        }


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def row(found: Mapping[str, Any]) -> list[str]:
    """A contender's row below `COLUMNS`."""
    step = found["step_ms"]
    return [
        found["contender"],
        str(found["step_frames"]),
        f"{step['median']:.1f}",
        f"{step['p99']:.1f}",
        f"{found['frame_ms']['median']:.2f}",
        f"{found['offline_frame_ms']['median']:.2f}",
        f"{found['cost']:.2f}",
        f"{found['processor_cost']:.2f}",
        f"{found['state_mb']:.1f}",
        str(found["delay_frames"]),
    ]


COLUMNS = ["contender", "frames", "step", "p99", "a frame", "offline", "cost", "CPU", "state MB", "delay"]
NOTE = (
    "Milliseconds, from uint8 frames to features. Cost: a frame in steps ÷ a frame of the whole clip, medians.\n"
    "CPU: the same of the processor's time, which other programs change less; of no meaning where a GPU computes.\n"
    "Delay: frames that a feature comes later than its last frame, and at most a step more."
)

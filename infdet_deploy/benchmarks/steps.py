"""Time and memory of incremental towers, compared with whole clips.

Both compute features from uint8 frames, one after the other in one process, without the head. The stream has received
more frames than the towers look back, as in a long-running camera. Cost is measured in wall-clock time and in processor
time, which other programs on the machine affect far less.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from infdet_deploy.benchmarks.statistics import Summary, summary
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.schema import TOWERS, stream_stage
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.snippets import STEP_FRAMES
from infdet_deploy.video.sample import sample_frames

CLIP_STEPS = 4  # steps in the clip of every run
MIN_RUNS, MAX_RUNS = 7, 20


@dataclass(frozen=True)
class StepTimes:
    """Times of one contender.

    step_ms: of a step. frame_ms, offline_frame_ms: of one frame, in steps and in the whole clip. cost: their ratio;
    processor_cost: the same for processor time. state_mb: memory that a stream keeps between steps. delay_frames:
    frames from the last frame of a feature's input until the feature is computed.
    """

    contender: str
    step_frames: int
    step_ms: Summary
    frame_ms: Summary
    offline_frame_ms: Summary
    cost: float
    processor_cost: float
    state_mb: float
    delay_frames: int


def in_steps(bundle: Bundle, contenders: Iterable[Contender]) -> list[Contender]:
    """The contenders that support incremental input; none for a bundle without it."""
    if bundle.incremental is None:
        return []
    towers = [stream_stage(stage) for stage in bundle.stages if stage in TOWERS]

    def supports(entry: Contender) -> bool:
        backend = get_backend(entry.backend)
        return backend.capabilities.format == "onnx" and all(
            entry.precision in bundle.entry(tower).files.get("onnx", {})
            and backend.is_ready(bundle.stage_file(tower, entry.precision), entry.precision)
            for tower in towers
        )

    return [entry for entry in contenders if supports(entry)]


def measure_steps(bundle: Bundle, entry: Contender, runs: int, step_frames: int = STEP_FRAMES) -> StepTimes:
    """Measure one contender on a clip of `CLIP_STEPS` steps: 7 to 20 times whole, then in steps."""
    frames = sample_frames(CLIP_STEPS * step_frames, bundle.size)
    with (
        Detector(bundle, entry.backend, entry.precision) as detector,
        StreamModel(bundle, entry.backend, entry.precision, step_frames) as model,
    ):
        stream = model.stream()
        parts = np.split(frames, CLIP_STEPS)
        whole, steps, processor = [], [], []
        for run in range(-1, min(max(runs, MIN_RUNS), MAX_RUNS)):  # the first one warms up
            begun = time.process_time()
            offline = _seconds(lambda: detector.features(frames))
            between = time.process_time()
            stepped = [_seconds(lambda part=part: stream.push(part)) for part in parts]  # type: ignore[misc]
            if run >= 0:
                whole.append(1000 * offline / len(frames))
                steps.append([1000 * seconds for seconds in stepped])
                processor.append((time.process_time() - between) / (between - begun))
        per_frame = [sum(run) / len(frames) for run in steps]
        return StepTimes(
            entry.name,
            step_frames,
            step_ms=summary([ms for run in steps for ms in run]),
            frame_ms=summary(per_frame),
            offline_frame_ms=summary(whole),
            cost=float(np.median(per_frame) / np.median(whole)),
            processor_cost=float(np.median(processor)),
            state_mb=stream.state_bytes / 1e6,
            delay_frames=model.delay_frames,
        )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun

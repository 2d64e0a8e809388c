"""Whole clips from frames to detections: what a backend in a precision changes in what the network finds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.tolerances import NOT_COMPARED, Tolerances, compare
from infdet_deploy.detections import Detection, DetectionChanges, compare_detections
from infdet_deploy.errors import InfdetError
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector, detections_of
from infdet_deploy.verification.stages import why
from infdet_deploy.video.timing import DEFAULT_FPS

if TYPE_CHECKING:
    from infdet_deploy.datasets import DataSet
    from infdet_deploy.datasets.annotations import Clip
    from infdet_deploy.model.network import InfDetNet


@dataclass(frozen=True)
class ReferenceClip:
    """frames: uint8 [T, S, S]. scores: float32 [T', C], the eager network's. annotation: where the clip has one."""

    name: str
    frames: np.ndarray
    fps: float
    scores: np.ndarray
    annotation: "Clip | None" = None


@dataclass(frozen=True)
class EndToEnd:
    """One backend in one precision on all clips, against the eager network.

    max_abs … nonfinite: of all scores together, as in `agreement.Errors`. tolerance: of max_abs. reference: detections
    of the network; matched, missed, extra: see `DetectionChanges`; boundary_shift_frames, score_shift: the largest.
    map, reference_map: mAP by IoU (`"0.1"` … `"0.5"`, THUMOS'14), where the clips are annotated. error: why there are
    no scores, in one line. scores: of the longest clip, float32 [T', C], for a picture.
    """

    backend: str
    precision: str
    clips: int
    max_abs: float
    relative_l2: float
    cosine: float
    snr_db: float
    nonfinite: int
    tolerance: float
    reference: int
    matched: int
    missed: int
    extra: int
    boundary_shift_frames: float
    score_shift: float
    map: dict[str, float] | None = None
    reference_map: dict[str, float] | None = None
    error: str = ""
    scores: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        return not self.error and not self.nonfinite and self.max_abs <= self.tolerance

    @property
    def map_change(self) -> dict[str, float] | None:
        """mAP minus the network's, by IoU."""
        if self.map is None or self.reference_map is None:
            return None
        return {iou: value - self.reference_map[iou] for iou, value in self.map.items()}


def sample_clips(references: Sequence[Tensors]) -> list[ReferenceClip]:
    """Reference tensors as clips of 25 frames/s."""
    return [
        ReferenceClip(f"{len(t['network']['frames'])} frames", t["network"]["frames"], DEFAULT_FPS, t["head"]["scores"])
        for t in references
    ]


def dataset_clips(
    network: "InfDetNet", bundle: Bundle, data: "DataSet", subset: str | None
) -> tuple[int, Iterator[ReferenceClip]]:
    """The number of a subset's clips (all for None), and the clips with the eager network's scores.

    Each clip goes through the eager network as a whole, so its memory grows with the clip. Raises VideoError and
    AnnotationError as `DataSet.usable` and `DataSet.video` do.
    """
    from infdet_deploy.exporting.reference import eager_tensors

    chosen = data.usable(subset, bundle.classes)

    def read() -> Iterator[ReferenceClip]:
        for clip in chosen:
            video = data.video(clip, bundle.size, "crop" if bundle.frame_mode == "crop" else "resize")
            frames = video.frames[: len(video.frames) // 4 * 4]  # as a bundle runs it
            scores = eager_tensors(network, frames)["head"]["scores"]
            yield ReferenceClip(clip.name, video.frames, video.fps, scores, clip)

    return len(chosen), read()


@dataclass
class _Tally:
    """What one contender gave so far."""

    scores: list[np.ndarray] = field(default_factory=list)
    found: list[list[Detection]] = field(default_factory=list)
    changes: list[DetectionChanges] = field(default_factory=list)
    shift_frames: float = 0.0
    error: str = ""


def end_to_end(
    bundle: Bundle,
    contenders: Sequence[Contender],
    clips: Iterable[ReferenceClip],
    tolerances: Tolerances | None = None,
    on_clip: Callable[[int, str], None] | None = None,
) -> list[EndToEnd]:
    """Run every clip through every contender and compare scores and detections; one entry a contender.

    A contender that cannot run has `error` and does not pass.
    """
    tolerances = tolerances or Tolerances()
    tallies = [_Tally() for _ in contenders]
    detectors: list[Detector | None] = []
    for entry, tally in zip(contenders, tallies, strict=True):
        try:
            detectors.append(Detector(bundle, entry.backend, entry.precision))
        except InfdetError as error:
            detectors.append(None)
            tally.error = str(error)
    expected: list[np.ndarray] = []
    wanted: list[list[Detection]] = []
    annotations: list[Clip] = []
    for index, clip in enumerate(clips):
        if on_clip:
            on_clip(index, clip.name)
        expected.append(clip.scores)
        wanted.append(detections_of(bundle, clip.scores, len(clip.frames), clip.fps))
        if clip.annotation is not None:
            annotations.append(clip.annotation)
        for entry, detector, tally in zip(contenders, detectors, tallies, strict=True):
            if detector is None or tally.error:
                continue
            try:
                scores = detector.scores(clip.frames)
            except Exception as error:  # as in parity
                tally.error = why(entry, error)
                continue
            found = detector.detections(scores, len(clip.frames), clip.fps)
            change = compare_detections(wanted[-1], found)
            tally.scores.append(scores)
            tally.found.append(found)
            tally.changes.append(change)
            tally.shift_frames = max(tally.shift_frames, change.boundary_shift_s * clip.fps)
    for detector in detectors:
        if detector is not None:
            detector.close()
    reference_map = _map(annotations, wanted, bundle)
    return [
        _row(entry, tally, expected, wanted, tolerances.scores(entry.precision), reference_map, annotations, bundle)
        for entry, tally in zip(contenders, tallies, strict=True)
    ]


def _row(
    entry: Contender,
    tally: _Tally,
    expected: list[np.ndarray],
    wanted: list[list[Detection]],
    tolerance: float,
    reference_map: dict[str, float] | None,
    annotations: "list[Clip]",
    bundle: Bundle,
) -> EndToEnd:
    total = sum(map(len, wanted))
    if tally.error:
        return EndToEnd(
            entry.backend, entry.precision, len(expected), *NOT_COMPARED, tolerance, total, 0, total, 0, nan, nan,
            reference_map=reference_map, error=tally.error,
        )  # fmt: skip
    if any(ours.shape != theirs.shape for ours, theirs in zip(tally.scores, expected, strict=True)):
        errors = NOT_COMPARED
    else:
        errors = compare(np.concatenate(tally.scores), np.concatenate(expected))
    return EndToEnd(
        entry.backend,
        entry.precision,
        len(expected),
        *errors,
        tolerance,
        total,
        sum(c.matched for c in tally.changes),
        sum(c.missed for c in tally.changes),
        sum(c.extra for c in tally.changes),
        tally.shift_frames,
        max((c.score_shift for c in tally.changes), default=0.0),
        _map(annotations, tally.found, bundle),
        reference_map,
        scores=max(tally.scores, key=len),
    )


def _map(annotations: "list[Clip]", found: list[list[Detection]], bundle: Bundle) -> dict[str, float] | None:
    """mAP by IoU of the clips' detections; None without annotated instances, and for recognition."""
    if bundle.task == "recognition" or not any(clip.instances for clip in annotations):
        return None
    from infdet_deploy.metrics.average_precision import mean_average_precision
    from infdet_deploy.metrics.thresholds import scored_instances

    scored = scored_instances(zip((clip.name for clip in annotations), found, strict=True))
    return mean_average_precision(annotations, scored, "thumos14", bundle.classes).map

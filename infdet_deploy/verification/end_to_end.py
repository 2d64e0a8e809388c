"""Comparing whole clips with the network, from frames to scores and detections."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import nan
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.tolerances import NOT_COMPARED, Tolerances, compare
from infdet_deploy.detections import Detection, DetectionChanges, DetectionRule, compare_detections, detect
from infdet_deploy.errors import InfdetError
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector, detections_of
from infdet_deploy.snippets import valid_length
from infdet_deploy.verification.stages import why
from infdet_deploy.video.timing import DEFAULT_FPS

if TYPE_CHECKING:
    from infdet_deploy.datasets import DataSet
    from infdet_deploy.datasets.instances import Clip
    from infdet_deploy.model.network import InfDetNet


@dataclass(frozen=True)
class ReferenceClip:
    """frames: uint8 [T, S, S]. scores: float32 [T', C], the eager network's. annotation: None for generated clips.

    rule: for the clip's detections.
    """

    name: str
    frames: npt.NDArray[np.uint8]
    fps: float
    scores: npt.NDArray[np.float32]
    rule: DetectionRule
    annotation: "Clip | None" = None

    def detections(self, bundle: Bundle, scores: npt.NDArray[np.float32]) -> list[Detection]:
        """Detections from scores of this clip by its rule; for recognition the clip's one class."""
        frames = len(self.frames)
        if bundle.task == "recognition":
            return detections_of(bundle, scores, frames, self.fps)
        return detect(scores, bundle.classes, self.rule, valid_length(frames) / (frames / self.fps))


def own_rule(scores: npt.NDArray[np.float32]) -> DetectionRule:
    """A rule with detections in any clip whose scores vary: thresholds from its scores [T', C], runs of any length.

    A class's threshold is the middle of the widest gap between its sorted scores, so that small errors of the scores
    change no detection.
    """
    ordered = np.sort(scores.astype(np.float64), axis=0)
    gaps = np.diff(ordered, axis=0)
    if not len(gaps):
        return DetectionRule((1.0,) * scores.shape[1], (0.0,) * scores.shape[1])
    columns = np.arange(scores.shape[1])
    widest = gaps.argmax(axis=0)
    thresholds = (ordered[widest, columns] + ordered[widest + 1, columns]) / 2
    return DetectionRule(tuple(thresholds.tolist()), (0.0,) * scores.shape[1])


@dataclass(frozen=True)
class EndToEnd:
    """One backend and precision compared with the eager network on all clips.

    max_abs … nonfinite: of all scores together, as in `tolerances.Errors`. tolerance: of max_abs. reference: number of
    the network's detections. matched, missed, extra: as in `DetectionChanges`. boundary_shift_frames, score_shift: the
    largest of the matched detections. map, reference_map: mAP by IoU (`"0.1"` … `"0.5"`, THUMOS'14) of annotated clips.
    error: why there are no scores, in one line. scores: float32 [T', C] of the longest clip, for a chart.
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
    scores: npt.NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        return not self.error and not self.nonfinite and self.max_abs <= self.tolerance

    @property
    def map_change(self) -> dict[str, float] | None:
        """mAP minus the network's, by IoU."""
        if self.map is None or self.reference_map is None:
            return None
        return {iou: value - self.reference_map[iou] for iou, value in self.map.items()}


def sample_clips(bundle: Bundle, references: Sequence[Tensors]) -> list[ReferenceClip]:
    """Reference tensors as clips of 25 frames/s, with the bundle's rule, or `own_rule` if that detects nothing."""
    clips = []
    for tensors in references:
        frames, scores = tensors["network"]["frames"], tensors["head"]["scores"]
        clip = ReferenceClip(f"{len(frames)} frames", frames, DEFAULT_FPS, scores, bundle.rule)
        found = clip.detections(bundle, scores)
        clips.append(clip if found else replace(clip, rule=own_rule(scores)))
    return clips


def dataset_clips(
    network: "InfDetNet", bundle: Bundle, clips: "Sequence[Clip]", data: "DataSet"
) -> Iterator[ReferenceClip]:
    """Clips of a data set with the eager network's scores and the bundle's rule.

    The eager network runs each clip as a whole, so memory grows with its length. Raises as `DataSet.video`.
    """
    from infdet_deploy.exporting.reference import eager_tensors

    for clip in clips:
        video = data.video(clip, bundle.size, "crop" if bundle.frame_mode == "crop" else "resize")
        frames = video.frames[: len(video.frames) // 4 * 4]  # as a bundle runs it
        scores = eager_tensors(network, frames)["head"]["scores"]
        yield ReferenceClip(clip.name, video.frames, video.fps, scores, bundle.rule, clip)


@dataclass
class _Tally:
    """The results of one contender so far."""

    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)
    found: list[list[Detection]] = field(default_factory=list)
    changes: list[DetectionChanges] = field(default_factory=list)
    shift_frames: float = 0.0
    error: str = ""

    def add(
        self, clip: ReferenceClip, scores: npt.NDArray[np.float32], found: list[Detection], wanted: list[Detection]
    ) -> None:
        change = compare_detections(wanted, found)
        self.scores.append(scores)
        self.found.append(found)
        self.changes.append(change)
        self.shift_frames = max(self.shift_frames, change.boundary_shift_s * clip.fps)


def end_to_end(
    bundle: Bundle,
    contenders: Sequence[Contender],
    clips: Iterable[ReferenceClip],
    tolerances: Tolerances | None = None,
    on_clip: Callable[[int, str], None] | None = None,
) -> list[EndToEnd]:
    """Run every clip through every contender and compare scores and detections; one entry per contender.

    on_clip: called with the number and name of each clip. A contender that cannot run has `error` and does not pass.
    """
    tolerances = tolerances or Tolerances()
    tallies = [_Tally() for _ in contenders]
    expected: list[npt.NDArray[np.float32]] = []
    wanted: list[list[Detection]] = []
    annotations: list[Clip] = []
    with ExitStack() as stack:
        detectors = [_open(bundle, entry, tally, stack) for entry, tally in zip(contenders, tallies, strict=True)]
        for index, clip in enumerate(clips):
            if on_clip:
                on_clip(index, clip.name)
            expected.append(clip.scores)
            wanted.append(clip.detections(bundle, clip.scores))
            if clip.annotation is not None:
                annotations.append(clip.annotation)
            for detector, entry, tally in zip(detectors, contenders, tallies, strict=True):
                if detector is not None and not tally.error:
                    try:
                        scores = detector.scores(clip.frames)
                    except Exception as error:  # backends raise different exceptions
                        tally.error = why(entry, error)
                    else:
                        tally.add(clip, scores, clip.detections(bundle, scores), wanted[-1])
    reference_map, rows = _map(annotations, wanted, bundle), []
    for entry, tally in zip(contenders, tallies, strict=True):
        row = _row(entry, tally, expected, wanted, tolerances.scores(entry.precision))
        found_map = None if tally.error else _map(annotations, tally.found, bundle)
        rows.append(replace(row, map=found_map, reference_map=reference_map))
    return rows


def _open(bundle: Bundle, entry: Contender, tally: _Tally, stack: ExitStack) -> Detector | None:
    try:
        detector = Detector(bundle, entry.backend, entry.precision)
    except InfdetError as error:
        tally.error = str(error)
        return None
    stack.callback(detector.close)
    return detector


def _row(
    entry: Contender,
    tally: _Tally,
    expected: list[npt.NDArray[np.float32]],
    wanted: list[list[Detection]],
    tolerance: float,
) -> EndToEnd:
    """The row of a contender, without mAP."""
    backend, precision, clips, total = entry.backend, entry.precision, len(expected), sum(map(len, wanted))
    if tally.error:
        return EndToEnd(
            backend, precision, clips, *NOT_COMPARED, tolerance, total, 0, total, 0, nan, nan, error=tally.error
        )
    same_shapes = all(ours.shape == theirs.shape for ours, theirs in zip(tally.scores, expected, strict=True))
    errors = compare(np.concatenate(tally.scores), np.concatenate(expected)) if same_shapes else NOT_COMPARED
    return EndToEnd(
        backend,
        precision,
        clips,
        *errors,
        tolerance,
        total,
        sum(c.matched for c in tally.changes),
        sum(c.missed for c in tally.changes),
        sum(c.extra for c in tally.changes),
        tally.shift_frames,
        max((c.score_shift for c in tally.changes), default=0.0),
        scores=max(tally.scores, key=len),
    )


def _map(annotations: "list[Clip]", found: list[list[Detection]], bundle: Bundle) -> dict[str, float] | None:
    """mAP by IoU; None without annotated instances, and for recognition."""
    if bundle.task == "recognition" or not any(clip.instances for clip in annotations):
        return None
    from infdet_deploy.metrics.average_precision import mean_average_precision
    from infdet_deploy.metrics.thresholds import scored_instances

    scored = scored_instances(zip((clip.name for clip in annotations), found, strict=True))
    return mean_average_precision(annotations, scored, "thumos14", bundle.classes).map

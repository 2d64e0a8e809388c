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
from infdet_deploy.detections import Detection, DetectionRule, compare_detections, detect
from infdet_deploy.errors import InfdetError
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.results import detections_of
from infdet_deploy.verification.stages import Compared, attempt
from infdet_deploy.video.timeline import DEFAULT_FPS

if TYPE_CHECKING:
    from infdet_deploy.datasets import DataSet
    from infdet_deploy.datasets.instances import Clip
    from infdet_deploy.model.network import InfDetNet

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ReferenceClip:
    """frames: uint8 [T, S, S]. scores: float32 [T', C], the eager network's. annotation: None for generated clips.

    rule: for the clip's detections.
    """

    name: str
    frames: npt.NDArray[np.uint8]
    fps: float
    scores: Scores
    rule: DetectionRule
    annotation: "Clip | None" = None

    def detections(self, bundle: Bundle, scores: Scores) -> list[Detection]:
        """Detections from scores of this clip by its rule; for recognition the clip's one class."""
        frames = len(self.frames)
        if bundle.task == "recognition":
            return detections_of(bundle, scores, frames, self.fps)
        return detect(scores, bundle.classes, self.rule, self.rule.snippets_per_second(frames, self.fps))


def own_rule(scores: Scores) -> DetectionRule:
    """A rule with detections in any clip whose scores vary: thresholds from its scores [T', C], runs of any length.

    A class's threshold is the middle of the widest gap between its sorted scores, so that small errors of the scores
    change no detection.
    """
    ordered = np.sort(scores.astype(np.float64), axis=0)
    no_durations = (0.0,) * scores.shape[1]
    if len(ordered) < 2:
        return DetectionRule((1.0,) * scores.shape[1], no_durations)
    below = np.diff(ordered, axis=0).argmax(axis=0)
    middles = (ordered[:-1] + ordered[1:]) / 2
    return DetectionRule(tuple(np.take_along_axis(middles, below[None], axis=0)[0].tolist()), no_durations)


@dataclass(frozen=True)
class EndToEnd(Compared):
    """The scores and detections of one backend and precision in all clips. tolerance: of max_abs.

    reference: number of the network's detections. matched, missed, extra: as in `DetectionChanges`.
    boundary_shift_frames, score_shift: the largest of the matched detections. map, reference_map: mAP by IoU
    (`"0.1"` … `"0.5"`, THUMOS'14) of annotated clips. scores: float32 [T', C] of the longest clip, for a chart.
    """

    clips: int
    reference: int
    matched: int
    missed: int
    extra: int
    boundary_shift_frames: float
    score_shift: float
    map: dict[str, float] | None = None
    reference_map: dict[str, float] | None = None
    scores: Scores | None = field(default=None, repr=False, compare=False)

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
    from infdet_deploy.exporting.tensors import eager_tensors

    for clip in clips:
        video = data.video(clip, bundle.preparation)
        frames = video.frames[: len(video.frames) // 4 * 4]  # as a bundle runs it
        scores = eager_tensors(network, frames)["head"]["scores"]
        yield ReferenceClip(clip.name, video.frames, video.fps, scores, bundle.rule, clip)


@dataclass
class _Results:
    """Scores and detections by clip, of the network or of a contender. error: why the contender failed."""

    detector: Detector | None = None
    error: str = ""
    scores: list[Scores] = field(default_factory=list)
    found: list[list[Detection]] = field(default_factory=list)

    def add(self, bundle: Bundle, clip: ReferenceClip, scores: Scores) -> None:
        self.scores.append(scores)
        self.found.append(clip.detections(bundle, scores))


def end_to_end(
    bundle: Bundle,
    contenders: Sequence[Contender],
    clips: Iterable[ReferenceClip],
    tolerances: Tolerances | None = None,
    on_clip: Callable[[int, ReferenceClip], None] | None = None,
) -> list[EndToEnd]:
    """Run every clip through every contender and compare scores and detections; one entry per contender.

    on_clip: called with the number of each clip and the clip. A contender that cannot run has `error` and does not
    pass.
    """
    tolerances, network, rates = tolerances or Tolerances(), _Results(), list[float]()
    annotations: list[Clip] = []
    with ExitStack() as stack:
        results = []
        for entry in contenders:
            try:
                detector = Detector(bundle, entry.backend, entry.precision)
            except InfdetError as error:
                results.append(_Results(error=str(error)))
            else:
                stack.callback(detector.close)
                results.append(_Results(detector))
        for index, clip in enumerate(clips):
            if on_clip:
                on_clip(index, clip)
            network.add(bundle, clip, clip.scores)
            rates.append(clip.fps)
            annotations += [clip.annotation] if clip.annotation else []
            for entry, one in zip(contenders, results, strict=True):
                if one.detector is not None and not one.error:
                    scores, one.error = attempt(entry, one.detector.scores, clip.frames)
                    if scores is not None:
                        one.add(bundle, clip, scores)
    reference_map, rows = _map(annotations, network, bundle), []
    for entry, one in zip(contenders, results, strict=True):
        row = _row(entry, one, network, rates, tolerances.scores(entry.precision))
        rows.append(replace(row, map=_map(annotations, one, bundle), reference_map=reference_map))
    return rows


def _row(entry: Contender, ours: _Results, network: _Results, rates: Sequence[float], tolerance: float) -> EndToEnd:
    """The row of a contender, without mAP. rates: frames per second, by clip."""
    clips, total = len(rates), sum(map(len, network.found))
    if ours.error:
        return EndToEnd(
            *(entry.backend, entry.precision, *NOT_COMPARED, tolerance, ours.error),
            *(clips, total, 0, total, 0, nan, nan),
        )
    same_shapes = all(a.shape == b.shape for a, b in zip(ours.scores, network.scores, strict=True))
    errors = compare(np.concatenate(ours.scores), np.concatenate(network.scores)) if same_shapes else NOT_COMPARED
    changes = [compare_detections(wanted, found) for wanted, found in zip(network.found, ours.found, strict=True)]
    return EndToEnd(
        *(entry.backend, entry.precision, *errors, tolerance, "", clips, total),
        matched=sum(change.matched for change in changes),
        missed=sum(change.missed for change in changes),
        extra=sum(change.extra for change in changes),
        boundary_shift_frames=max(c.boundary_shift_s * fps for c, fps in zip(changes, rates, strict=True)),
        score_shift=max(change.score_shift for change in changes),
        scores=max(ours.scores, key=len),
    )


def _map(annotations: "list[Clip]", results: _Results, bundle: Bundle) -> dict[str, float] | None:
    """mAP by IoU; None without annotated instances, for recognition, and for a contender that failed."""
    if results.error or bundle.task == "recognition" or not any(clip.instances for clip in annotations):
        return None
    from infdet_deploy.metrics.average_precision import mean_average_precision
    from infdet_deploy.metrics.thresholds import scored_instances

    scored = scored_instances(zip((clip.name for clip in annotations), results.found, strict=True))
    return mean_average_precision(annotations, scored, "thumos14", bundle.classes).map

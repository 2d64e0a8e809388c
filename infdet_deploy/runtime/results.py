"""From a head's scores to the detections of a recording. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.detections import Detection, clip_score, detect
from infdet_deploy.errors import InfdetError
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.video.timeline import Part


@dataclass(frozen=True)
class Analysis:
    """The result for one recording.

    frames: number of frames that were analysed. fps: their rate. scores: float32 [T', C], those of the parts one after
    another. detections: by class, then time, in seconds on the recording's time line. notes: as in `Video`. parts: as
    `Video.parts`; the head sees each alone.
    """

    name: str
    frames: int
    fps: float
    scores: np.ndarray
    detections: list[Detection]
    notes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def duration_s(self) -> float:
        """The end of the last frame on the recording's time line, in seconds."""
        return self.parts[-1].end_s if self.parts else self.frames / self.fps


def head_scores(head: CompiledStage, features: Mapping[str, np.ndarray], length: int, what: str) -> np.ndarray:
    """Features float32 [T', d] of each stream → scores float32 [T', C].

    length: valid snippets. what: backend and precision, for the InfdetError about scores that are not finite.
    """
    scores = head.run({**features, "length": np.array([length], np.int64)})["scores"]
    return checked_scores(scores, len(next(iter(features.values()))), what)


def checked_scores(scores: np.ndarray, rows: int, what: str) -> np.ndarray:
    """The scores of `rows` snippets as a graph, perhaps a stranger's, gave them; InfdetError if they are no scores."""
    if scores.dtype.kind != "f" or scores.ndim != 2 or len(scores) != rows:
        raise InfdetError(
            f"{what} gave scores {scores.dtype} {list(scores.shape)}, expected floats [{rows}, classes]; "
            "export the bundle again"
        )
    if not np.isfinite(scores).all():
        raise InfdetError(f"{what} gave scores that are not numbers; try float32")
    if scores.min() < 0 or scores.max() > 1:
        outside = scores.max() if scores.max() > 1 else scores.min()
        raise InfdetError(f"{what} gave a score of {outside:g}, expected 0 to 1; export the bundle again")
    return scores


def detections_of(bundle: Bundle, scores: np.ndarray, frames: int, fps: float) -> list[Detection]:
    """As `Detector.detections`, without a detector."""
    if bundle.task == "recognition":
        mean = clip_score(scores)
        best = int(mean.argmax())
        return [Detection(bundle.classes[best], 0.0, frames / fps, float(mean[best]))]
    return detect(scores, bundle.classes, bundle.rule, bundle.rule.snippets_per_second(frames, fps))


def detections_in(bundle: Bundle, scored: Sequence[tuple[Part, np.ndarray]]) -> list[Detection]:
    """The detections of a recording, by class, then time, in seconds on its time line.

    scored: each part and its scores [T', C]. A recognition network gives one detection over all parts.
    """
    if bundle.task == "recognition":
        scores = np.concatenate([scores for _, scores in scored])
        (best,) = detections_of(bundle, scores, len(scored[0][0].times_s), scored[0][0].fps)
        return [replace(best, start_s=scored[0][0].shown_s(0.0), end_s=scored[-1][0].end_s)]
    found = [
        replace(one, start_s=part.shown_s(one.start_s), end_s=part.shown_s(one.end_s))
        for part, scores in scored
        for one in detections_of(bundle, scores, len(part.times_s), part.fps)
    ]
    return sorted(found, key=lambda one: (bundle.classes.index(one.label), one.start_s))

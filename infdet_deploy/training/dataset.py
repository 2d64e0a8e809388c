"""A data set's clips as training sees them: frames, flow and labels; which clips validate."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.annotations import Clip
from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.training.prepare import prepare_clips


@dataclass(frozen=True)
class PreparedClip:
    """One clip.

    frames: uint8 [T, S, S], 0–255. flow: float16 [T−1, c, S/4, S/4] in [−1, 1]. labels: float32 [T', C], 0 or 1.
    duration_s: T frames at the video's rate. annotation: the clip's instances, in seconds.
    """

    name: str
    frames: NDArray[np.uint8]
    flow: NDArray[np.float16]
    labels: NDArray[np.float32]
    duration_s: float
    annotation: Clip

    @property
    def snippets_per_second(self) -> float:
        """⌊T/8⌋ / duration, the scale between snippet numbers and seconds."""
        return valid_length(len(self.frames)) / self.duration_s


def load_dataset(
    data: DataSet | Path | str,
    subset: str | None,
    model: ModelConfig,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> list[PreparedClip]:
    """The clips of one subset, in the order of the annotations, prepared where they are not yet (see `prepare_clips`).

    subset: None for all clips. Raises AnnotationError for broken annotations, a subset without clips and labels that
    are not the network's; VideoError for clips without frames, and for videos that cannot be read or have less than 16.
    """
    data = data if isinstance(data, DataSet) else open_dataset(data)
    clips = data.usable(subset, model.classes)
    prepared = []
    for clip, (frames, flow, duration_s) in zip(
        clips, prepare_clips(data, clips, model, on_progress, workers), strict=True
    ):
        if data.media[clip.name].is_dir() and clip.duration_s is not None:  # pictures tell no time
            duration_s = clip.duration_s
        labels = snippet_labels(clip, model.classes, len(frames), duration_s, feature_length(len(frames)))
        prepared.append(PreparedClip(clip.name, frames, flow, labels, duration_s, clip))
    return prepared


def hold_out(clips: Sequence[PreparedClip], share: float) -> tuple[list[PreparedClip], list[PreparedClip]]:
    """Split into clips to train on and clips to validate with, of which each class has about the same share.

    A clip counts for the class of its first instance; one without instances is never held out, nor the last one that
    shows a class. At least one clip is held out. Raises TrainingError where that is not possible.
    """
    shown = Counter(label for clip in clips for label in _labels(clip))
    seen: Counter[str] = Counter()
    held: list[PreparedClip] = []

    def take(clip: PreparedClip) -> None:
        held.append(clip)
        shown.subtract(_labels(clip))

    free = [clip for clip in clips if clip.annotation.instances]
    for clip in free:
        label = clip.annotation.instances[0].label
        seen[label] += 1
        due = int(seen[label] * share + 0.5) > int((seen[label] - 1) * share + 0.5)
        if due and all(shown[name] > 1 for name in _labels(clip)):
            take(clip)
    for clip in reversed(free):
        if not held and all(shown[name] > 1 for name in _labels(clip)):
            take(clip)
    if not held:
        raise TrainingError(
            f"{len(clips)} training clips: none can be kept to validate with, or a class would have none to learn "
            "from; add clips, or give some the subset 'validation'"
        )
    names = {clip.name for clip in held}
    return [clip for clip in clips if clip.name not in names], held


def _labels(clip: PreparedClip) -> set[str]:
    return {one.label for one in clip.annotation.instances}


def snippet_labels(
    clip: Clip, classes: Sequence[str], frames: int, duration_s: float, snippets: int
) -> NDArray[np.float32]:
    """Labels float32 [snippets, C]: 1 where the snippet's time lies strictly inside an instance of the class."""
    time_s = np.arange(snippets) * duration_s / valid_length(frames)
    labels = np.zeros((snippets, len(classes)), np.float32)
    for instance in clip.instances:
        inside = (instance.start_s < time_s) & (time_s < instance.end_s)
        labels[inside, classes.index(instance.label)] = 1
    return labels


def mean_durations_s(clips: Sequence[PreparedClip], classes: Sequence[str]) -> tuple[float, ...]:
    """Mean length of each class's instances, in seconds. Raises TrainingError for a class that has none."""
    means = []
    for label in classes:
        found = [i.end_s - i.start_s for clip in clips for i in clip.annotation.instances if i.label == label]
        if not found:
            raise TrainingError(f"no instance of class '{label}' in {len(clips)} training clips; leave the class out")
        means.append(float(np.mean(found)))
    return tuple(means)

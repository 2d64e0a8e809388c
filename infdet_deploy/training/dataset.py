"""A data set's clips as training sees them: frames, flow and labels; which clips validate."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.annotations import Clip
from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.datasets.trimmed import trimmed
from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.training.prepare import Prepared, prepare_clips
from infdet_deploy.training.settings import TrainConfig


@dataclass(frozen=True)
class PreparedClip:
    """One clip.

    frames: uint8 [T, S, S], 0–255. flow: float16 [T−1, c, h, w] in [−1, 1]. labels: float32 [T', C], 0 or 1.
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
    are not the network's; VideoError for clips without frames, and for videos that cannot be read or have less than 16;
    TrainingError for clips without times where the network's task is detection.
    """
    data = data if isinstance(data, DataSet) else open_dataset(data)
    clips = data.usable(subset, model.classes)
    if model.task == "recognition":
        clips = tuple(trimmed(clip) for clip in clips)
    elif any(clip.label for clip in clips):
        raise TrainingError(
            f"{data.root}: clips here are sorted by class and have no times; train with --task recognition, or give "
            "annotations with times"
        )
    return prepared_clips(data, clips, model, on_progress, workers)


def prepared_clips(
    data: DataSet,
    clips: Sequence[Clip],
    model: ModelConfig,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> list[PreparedClip]:
    """Clips of the data set with frames, flow and labels; arguments and errors as for `prepare_clips`."""
    prepared = []
    for clip, (frames, flow, duration_s) in zip(
        clips, prepare_clips(data, clips, model, on_progress, workers), strict=True
    ):
        if data.media[clip.name].is_dir() and clip.duration_s is not None:  # pictures tell no time
            duration_s = clip.duration_s
        prepared.append(labelled(clip, Prepared(frames, flow, duration_s), model))
    return prepared


def labelled(clip: Clip, found: Prepared, model: ModelConfig) -> PreparedClip:
    """A clip's frames and flow with the labels of all its features."""
    frames, flow, duration_s = found
    labels = snippet_labels(clip, model.classes, len(frames), duration_s, feature_length(len(frames)))
    return PreparedClip(clip.name, frames, flow, labels, duration_s, clip)


@dataclass(frozen=True)
class Parts:
    """Clips to learn from, to choose the checkpoint by, and to judge it at the end.

    mean_s: mean length of each class's instances outside the test clips, in seconds.
    """

    training: list[PreparedClip]
    validation: list[PreparedClip]
    test: list[PreparedClip]
    mean_s: tuple[float, ...]


def load_parts(
    data: DataSet | Path | str, model: ModelConfig, config: TrainConfig, on_progress: Callable[[int, int], None]
) -> Parts:
    """The subsets that the configuration names; clips are held out of training where none are there to validate with.

    Raises TrainingError for a class without an instance to learn from; errors of `load_dataset` and `hold_out`.
    """
    data = data if isinstance(data, DataSet) else open_dataset(data)
    training, validation = load_dataset(data, config.train_subset, model, on_progress), []
    mean_durations_s(training, model.classes)  # every class can be learned
    if _shows_something(data, config.validation_subset):
        validation = load_dataset(data, config.validation_subset, model, on_progress)
    else:
        training, validation = hold_out(training, config.validation_share)
    mean_s = mean_durations_s([*training, *validation], model.classes)
    shown = _shows_something(data, config.test_subset)
    return Parts(
        training, validation, load_dataset(data, config.test_subset, model, on_progress) if shown else [], mean_s
    )


def _shows_something(data: DataSet, subset: str) -> bool:
    """Whether there is anything in a subset that a network can be judged by."""
    return any(clip.instances or clip.label for clip in data.subset(subset))


def hold_out(clips: Sequence[PreparedClip], share: float) -> tuple[list[PreparedClip], list[PreparedClip]]:
    """Split into clips to train on and clips to validate with, of which each class has about the same share.

    A clip counts for the class of its first instance, or its only one; one without any is never held out, nor the last
    one that shows a class. At least one clip is held out. Raises TrainingError where that is not possible.
    """
    shown = Counter(label for clip in clips for label in _labels(clip))
    seen: Counter[str] = Counter()
    held: list[PreparedClip] = []

    def take(clip: PreparedClip) -> None:
        held.append(clip)
        shown.subtract(_labels(clip))

    free = [clip for clip in clips if _labels(clip)]
    for clip in free:
        label = clip.annotation.label or clip.annotation.instances[0].label
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
    return {one.label for one in clip.annotation.instances} | ({clip.annotation.label} - {""})


def snippet_labels(
    clip: Clip, classes: Sequence[str], frames: int, duration_s: float, snippets: int
) -> NDArray[np.float32]:
    """Labels float32 [snippets, C]: 1 where the snippet's time lies strictly inside an instance of the class; for a
    trimmed clip 1 throughout for its class."""
    time_s = np.arange(snippets) * duration_s / valid_length(frames)
    labels = np.zeros((snippets, len(classes)), np.float32)
    for instance in clip.instances:
        inside = (instance.start_s < time_s) & (time_s < instance.end_s)
        labels[inside, classes.index(instance.label)] = 1
    if clip.label:
        labels[:, classes.index(clip.label)] = 1
    return labels


def mean_durations_s(clips: Sequence[PreparedClip], classes: Sequence[str]) -> tuple[float, ...]:
    """Mean length of each class's instances, in seconds; a trimmed clip is an instance from end to end. Raises
    TrainingError for a class that has none."""
    means = []
    for label in classes:
        whole = [clip.duration_s for clip in clips if clip.annotation.label == label]
        found = [i.end_s - i.start_s for clip in clips for i in clip.annotation.instances if i.label == label]
        found += whole
        if not found:
            raise TrainingError(f"no instance of class '{label}' in {len(clips)} training clips; leave the class out")
        means.append(float(np.mean(found)))
    return tuple(means)

"""A data set's clips as training sees them: frames, flow and labels; which clips validate."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.datasets.annotations import Clip
from infdet_deploy.datasets.trimmed import trimmed
from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import feature_length, valid_length
from infdet_deploy.training.clip_cache import Prepared, prepare_clips
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
    return prepared_clips(data, fit_clips(data, subset, model), model, on_progress, workers)


def fit_clips(data: DataSet, subset: str | None, model: ModelConfig) -> tuple[Clip, ...]:
    """The clips of one subset, all fit for the network and its task; errors of `load_dataset` but of broken videos."""
    clips = data.usable(subset, model.classes)
    if model.task == "recognition":
        return tuple(trimmed(clip) for clip in clips)
    if any(clip.label for clip in clips):
        raise TrainingError(
            f"{data.root}: clips here are sorted by class and have no times; train with --task recognition, or give "
            "annotations with times"
        )
    return clips


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

    mean_s: mean length of each class's instances outside the test clips, in seconds. fps: the median frame rate of the
    training clips, in which 25 stands for those that tell none.
    """

    training: list[PreparedClip]
    validation: list[PreparedClip]
    test: list[PreparedClip]
    mean_s: tuple[float, ...]

    @property
    def fps(self) -> float:
        return round(float(np.median([len(clip.frames) / clip.duration_s for clip in self.training])), 3)


def load_parts(
    data: DataSet | Path | str, model: ModelConfig, config: TrainConfig, on_progress: Callable[[int, int], None]
) -> Parts:
    """The clips of `divide`, prepared; errors of `divide` and `prepare_clips`."""
    data = data if isinstance(data, DataSet) else open_dataset(data)
    training, validation, test = (
        prepared_clips(data, clips, model, on_progress) if clips else [] for clips in divide(data, model, config)
    )
    return Parts(training, validation, test, mean_durations_s([*training, *validation], model.classes))


def divide(data: DataSet, model: ModelConfig, config: TrainConfig) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """The clips to train on, to validate with and to judge at the end, as annotated.

    They are the subsets that the configuration names; clips are held out of training where none are there to validate
    with. Raises TrainingError for a class without an instance to learn from; errors of `fit_clips` and `hold_out`.
    """
    training, validation = list(fit_clips(data, config.train_subset, model)), []
    shown = {label for clip in training for label in _labels(clip)}
    for label in model.classes:
        if label not in shown:
            raise _nothing_of(label, len(training))
    if _shows_something(data, config.validation_subset):
        validation = list(fit_clips(data, config.validation_subset, model))
    else:
        training, validation = hold_out(training, config.validation_share)
    judged = fit_clips(data, config.test_subset, model) if _shows_something(data, config.test_subset) else ()
    return training, validation, list(judged)


def _nothing_of(label: str, clips: int) -> TrainingError:
    return TrainingError(f"no instance of class '{label}' in {clips} training clips; leave the class out")


def _shows_something(data: DataSet, subset: str) -> bool:
    """Whether there is anything in a subset that a network can be judged by."""
    return any(clip.instances or clip.label for clip in data.subset(subset))


def hold_out(clips: Sequence[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Split into clips to train on and clips to validate with, of which each class has about the same share.

    A clip counts for the class of its first instance, or its only one; one without any is never held out, nor the last
    one that shows a class. At least one clip is held out. Raises TrainingError where that is not possible.
    """
    shown = Counter(label for clip in clips for label in _labels(clip))
    seen: Counter[str] = Counter()
    held: list[Clip] = []

    def take(clip: Clip) -> None:
        held.append(clip)
        shown.subtract(_labels(clip))

    free = [clip for clip in clips if _labels(clip)]
    for clip in free:
        label = clip.label or clip.instances[0].label
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


def _labels(clip: Clip) -> set[str]:
    return {one.label for one in clip.instances} | ({clip.label} - {""})


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
            raise _nothing_of(label, len(clips))
        means.append(float(np.mean(found)))
    return tuple(means)

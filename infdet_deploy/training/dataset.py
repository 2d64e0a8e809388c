"""Clips with frames, flow and labels, and their division into training, validation and test clips."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.datasets.parts import clips_of_parts
from infdet_deploy.datasets.trimmed import trimmed
from infdet_deploy.detections import Ends
from infdet_deploy.errors import TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, feature_length, valid_length
from infdet_deploy.training.clip_cache import Prepared, prepare_clips
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.video.timeline import Part


@dataclass(frozen=True)
class PreparedClip:
    """One clip, or a part of a recording with pauses.

    frames: uint8 [T, S, S], 0–255. flow: float16 [T−1, c, h, w] in [−1, 1], c = 0 for a network without flow tower.
    labels: float32 [T', C], 0–1. duration_s: of T frames at the video's rate. annotation: instances, in seconds
    from the first frame.
    """

    name: str
    frames: NDArray[np.uint8]
    flow: NDArray[np.float16]
    labels: NDArray[np.float32]
    duration_s: float
    annotation: Clip

    @property
    def fps(self) -> float:
        """Frames per second."""
        return len(self.frames) / self.duration_s


def load_dataset(
    data: DataSet | Path | str,
    subset: str | None,
    model: ModelConfig,
    on_progress: Callable[[int, int], None] | None = None,
    ends: Ends = "published",
) -> list[PreparedClip]:
    """The clips of one subset (None: all), in the annotations' order, prepared if necessary (see `prepare_clips`).

    ends: of the labels, see `snippet_labels`.

    Raises AnnotationError for broken annotations, a subset without clips and labels that are not the network's;
    VideoError for clips without frames, and for videos that cannot be read or have less than 16; TrainingError for
    clips without times if the network's task is detection.
    """
    data = data if isinstance(data, DataSet) else open_dataset(data)
    return prepared_clips(data, checked_clips(data, subset, model), model, on_progress, ends)


def checked_clips(data: DataSet, subset: str | None, model: ModelConfig) -> tuple[Clip, ...]:
    """The clips of one subset, checked against the network and its task; errors of `load_dataset` except for videos."""
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
    ends: Ends = "published",
) -> list[PreparedClip]:
    """Clips of the data set with frames, flow and labels; arguments and errors as for `prepare_clips`."""
    prepared = prepare_clips(data, clips, model, on_progress)
    return [part for clip, one in zip(clips, prepared, strict=True) for part in labelled(clip, one, model, ends)]


def labelled(clip: Clip, found: Prepared, model: ModelConfig, ends: Ends = "published") -> list[PreparedClip]:
    """The parts of a clip with the labels of all their features; a clip without a pause is one part."""
    parts = found.parts or (Part(len(found.frames) / found.duration_s, np.zeros(1)),)
    annotations, first, made = clips_of_parts(clip, parts), 0, []
    for annotation, part in zip(annotations, parts, strict=True):
        length = len(part.times_s) if found.parts else len(found.frames)
        frames, flow = found.frames[first : first + length], found.flow[first : first + length - 1]
        duration_s, first = length / part.fps, first + length
        labels = snippet_labels(annotation, model.classes, length, duration_s, feature_length(length), ends)
        made.append(PreparedClip(annotation.name, frames, flow, labels, duration_s, annotation))
    return made


@dataclass(frozen=True)
class Parts:
    """Clips to train on, to select the checkpoint with, and to test it with.

    mean_s: mean length in seconds of each class's instances outside the test clips. fps: median frame rate of the
    training clips, counting 25 for clips without one.
    """

    training: list[PreparedClip]
    validation: list[PreparedClip]
    test: list[PreparedClip]
    mean_s: tuple[float, ...]

    @property
    def fps(self) -> float:
        return round(float(np.median([len(clip.frames) / clip.duration_s for clip in self.training])), 3)


def load_parts(
    data: DataSet, model: ModelConfig, config: TrainConfig, on_progress: Callable[[int, int], None]
) -> Parts:
    """The clips of `divide`, prepared; errors of `divide` and `prepare_clips`."""
    training, validation, test = (
        prepared_clips(data, clips, model, on_progress, config.ends) if clips else []
        for clips in divide(data, model, config)
    )
    return Parts(training, validation, test, mean_durations_s([*training, *validation], model.classes))


def divide(data: DataSet, model: ModelConfig, config: TrainConfig) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """The training, validation and test clips: the subsets that the configuration names.

    Without validation clips, training clips are held out. Raises TrainingError for a class without a training
    instance; errors of `checked_clips` and `hold_out`.
    """
    training, validation = list(checked_clips(data, config.train_subset, model)), []
    shown = {label for clip in training for label in _labels(clip)}
    for label in model.classes:
        if label not in shown:
            raise _no_instance(label, len(training))
    if _has_labels(data, config.validation_subset):
        validation = list(checked_clips(data, config.validation_subset, model))
    else:
        training, validation = hold_out(training, config.validation_share)
    test = checked_clips(data, config.test_subset, model) if _has_labels(data, config.test_subset) else ()
    return training, validation, list(test)


def _no_instance(label: str, clips: int) -> TrainingError:
    return TrainingError(f"no instance of class '{label}' in {clips} training clips; leave the class out")


def _has_labels(data: DataSet, subset: str) -> bool:
    """Whether a subset has any instance or label to evaluate a network with."""
    return any(clip.instances or clip.label for clip in data.subset(subset))


def hold_out(clips: Sequence[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Split into clips to train on and clips to validate with, about `share` of each class but at least one clip.

    A clip counts for the class of its first instance. Clips without instances are never held out, nor the last clip of
    a class. Raises TrainingError if no clip can be held out.
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
            f"{len(clips)} training clips: holding one out for validation would leave a class without "
            "training clips; add clips, or give some the subset 'validation'"
        )
    names = {clip.name for clip in held}
    return [clip for clip in clips if clip.name not in names], held


def _labels(clip: Clip) -> set[str]:
    return {one.label for one in clip.instances} | ({clip.label} - {""})


def snippet_labels(
    clip: Clip, classes: Sequence[str], frames: int, duration_s: float, snippets: int, ends: Ends, start: int = 0
) -> NDArray[np.float32]:
    """Labels float32 [snippets, C] of the snippets from frame `start` of a clip of `frames` frames.

    `published` ends: 1 where the snippet's time, j / snippets per second, is strictly inside an instance of the class.
    `interpolated` ends: the share of the 8 frames around the snippet's centre, frame 8j + 8, that lies inside, so that
    scores cross 0.5 at an instance's ends (see `detections`). For a trimmed clip: 1 for its class throughout.
    """
    labels = np.zeros((snippets, len(classes)), np.float32)
    step_s = duration_s / valid_length(frames) if ends == "published" else FRAMES_PER_SNIPPET * duration_s / frames
    time_s = (np.arange(snippets) + start / FRAMES_PER_SNIPPET + (0 if ends == "published" else 0.5)) * step_s
    for instance in clip.instances:
        column = labels[:, classes.index(instance.label)]
        if ends == "published":
            column[(instance.start_s < time_s) & (time_s < instance.end_s)] = 1
        else:
            inside_s = np.minimum(time_s + step_s, instance.end_s) - np.maximum(time_s, instance.start_s)
            column += np.clip(inside_s / step_s, 0, 1).astype(np.float32)
    labels = np.minimum(labels, 1)
    if clip.label:
        labels[:, classes.index(clip.label)] = 1
    return labels


def mean_durations_s(clips: Sequence[PreparedClip], classes: Sequence[str]) -> tuple[float, ...]:
    """Mean length of each class's instances, in seconds; a trimmed clip counts as one instance. Raises TrainingError
    for a class without instances."""
    means = []
    for label in classes:
        found = [i.end_s - i.start_s for clip in clips for i in clip.annotation.instances if i.label == label]
        found += [clip.duration_s for clip in clips if clip.annotation.label == label]
        if not found:
            raise _no_instance(label, len(clips))
        means.append(float(np.mean(found)))
    return tuple(means)

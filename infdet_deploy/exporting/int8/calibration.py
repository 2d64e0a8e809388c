"""The clips for calibrating and checking int8, and every stage's tensors for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.folder import has_annotations, media_in
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.errors import UsageError
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.snippets import MIN_FRAMES, valid_length
from infdet_deploy.video.frames import Video, read_prepared
from infdet_deploy.video.preparation import Preparation

CLIPS = 24  # number of recordings, evenly spread over the folder
FRAMES = 240  # of each recording, from its start
WINDOW = 80  # frames per run of a stage during calibration, which bounds memory
HELD_OUT = 4  # one of this many clips is held out: the error is measured on it

Feeds = dict[str, np.ndarray]
T = TypeVar("T")


@dataclass(frozen=True)
class Calibration:
    """Clips for calibration.

    windows, held_out: frames uint8 [T, S, S], T a multiple of 4, 16–80, to calibrate on and to measure errors on.
    recordings: their detections are compared; each with its annotation, or None without one. checked: False writes
    int8 without measuring errors and detections.
    """

    source: str
    windows: tuple[np.ndarray, ...]
    held_out: tuple[np.ndarray, ...]
    recordings: tuple[tuple[Video, Clip | None], ...]
    checked: bool = True


def read_calibration(folder: Path, preparation: Preparation, classes: Sequence[str]) -> Calibration:
    """Read a folder of recordings, or a data set: its training clips, and for detections its validation clips, if any.

    preparation: the network's. Raises UsageError for a folder without recordings, VideoError for an unreadable
    recording, AnnotationError for unreadable annotations.
    """
    if not folder.is_dir():
        raise UsageError(f"--calibrate {folder}: no such folder; expected a data set or a folder of recordings")
    media = media_in(folder)
    recordings: list[tuple[Video, Clip | None]]
    if has_annotations(folder) or not media:
        data = open_dataset(folder)
        clips = [clip for clip in data.subset("training") or data.clips if clip.name in data.media]
        chosen = _spread(clips)
        videos = [data.video(clip, preparation) for clip in chosen]
        validation = _spread([clip for clip in data.subset("validation") if clip.name in data.media])
        known = any(one.label in classes for clip in validation or chosen for one in clip.instances)
        pairs = [(data.video(clip, preparation), clip) for clip in validation] or list(zip(videos, chosen, strict=True))
        recordings = [(video, clip if known else None) for video, clip in pairs]
    else:
        paths = _spread(sorted({file for files in media.values() for file in files}))
        videos = [read_prepared(path, preparation, min_frames=MIN_FRAMES) for path in paths]
        recordings = [(video, None) for video in videos]
    if not videos:
        raise UsageError(f"--calibrate {folder}: no recordings there; int8 needs representative clips")
    apart = len(videos) >= HELD_OUT
    held_out = [w for i, v in enumerate(videos) for w in _windows(v.frames) if not apart or i % HELD_OUT == 1]
    windows = [w for i, v in enumerate(videos) for w in _windows(v.frames) if not apart or i % HELD_OUT != 1]
    return Calibration(str(folder), tuple(windows), tuple(_spread(held_out, 8)), tuple(recordings))


def _spread(items: Sequence[T], count: int = CLIPS) -> list[T]:
    """At most `count` of the items, evenly spread."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else list(items)


def _windows(frames: np.ndarray) -> list[np.ndarray]:
    total = min(len(frames), FRAMES) // 4 * 4
    parts = [frames[first : min(first + WINDOW, total)] for first in range(0, total, WINDOW)]
    return [part for part in parts if len(part) >= MIN_FRAMES]


def stage_tensors(stages: Mapping[str, CompiledStage], windows: Iterable[np.ndarray]) -> dict[str, list[Feeds]]:
    """Every stage's inputs and outputs when the float32 stages run one after another.

    windows: as in `Calibration`. Returns stage → for each window a mapping of tensor name to array.
    """
    found: dict[str, list[Feeds]] = {name: [] for name in stages}

    def run(stage: str, feeds: Feeds) -> Feeds:
        outputs = stages[stage].run(feeds)
        found[stage].append(feeds | outputs)
        return outputs

    for frames in windows:
        head: Feeds = {"length": np.array([valid_length(len(frames))], np.int64)}
        if "infrared_tower" in stages:
            head["infrared_features"] = run("infrared_tower", {"frames": frames})["features"]
        if "flow_tower" in stages:
            flow = run("fen", {"frames": frames})["flow"]
            flow = np.concatenate((flow, np.zeros_like(flow[:1])))  # the last frame has no next one
            head["flow_features"] = run("flow_tower", {"flow": flow})["features"]
        run("head", head)
    return found

"""A data set's clips, ready for training: frames, TV-L1 flow and labels in memory, cached on disk.

A data set is a folder with `annotations.json` (ActivityNet form) and `videos/NAME.mp4` for each clip; what preparing a
clip costs is paid once, in `.cache/` of the same folder.
"""

import hashlib
import json
import multiprocessing
import re
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.annotations import Clip, read_annotations
from infdet_deploy.errors import TrainingError
from infdet_deploy.files import whole_file
from infdet_deploy.machine import cpu_count
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import MIN_FRAMES, feature_length, valid_length
from infdet_deploy.training import tvl1
from infdet_deploy.video.frames import read_video
from infdet_deploy.video.resize import Mode

ANNOTATIONS = "annotations.json"
FRAME_MODE: Mode = "resize"  # how frames are brought to the network's size
_PREPARED = 1  # version of the cache files


@dataclass(frozen=True)
class PreparedClip:
    """One clip in memory.

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
    data: Path | str,
    subset: str,
    model: ModelConfig,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> list[PreparedClip]:
    """Prepare the clips of one subset of the folder `data`, in the order of its annotations.

    on_progress is called with the numbers of clips done and in all. workers: processes that prepare clips, as many as
    there are CPUs by default; clips in the cache cost a read. A cache that cannot be written is done without.

    Raises TrainingError for a missing folder or video and for labels that are not the network's; AnnotationError for a
    broken annotation file and a subset without clips; VideoError for videos that cannot be read or have less than 16
    frames.
    """
    data = Path(data)
    if not data.is_dir():
        raise TrainingError(f"{data}: no such data set folder, expected one with {ANNOTATIONS} and videos/")
    clips = read_annotations(data / ANNOTATIONS, subset)
    for clip in clips:
        for instance in clip.instances:
            if instance.label not in model.classes:
                known = ", ".join(model.classes)
                raise TrainingError(
                    f"{data}: clip '{clip.name}' has label '{instance.label}', the network knows {known}"
                )
    videos = [_video(data, clip.name) for clip in clips]
    caches = [_cache_file(data, video, clip.name, model) for video, clip in zip(videos, clips, strict=True)]
    arrays = [_read_cache(cache) for cache in caches]
    missing = [index for index, found in enumerate(arrays) if found is None]
    done = len(clips) - len(missing)
    if on_progress is not None:
        on_progress(done, len(clips))
    workers = min(workers or cpu_count(), len(missing))
    if missing:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            waiting = {
                pool.submit(_prepare, videos[index], caches[index], model.size, model.flow_channels): index
                for index in missing
            }
            try:
                for future in as_completed(waiting):
                    arrays[waiting[future]] = future.result()
                    done += 1
                    if on_progress is not None:
                        on_progress(done, len(clips))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    prepared = []
    for clip, found in zip(clips, arrays, strict=True):
        assert found is not None
        frames, flow, duration_s = found
        labels = snippet_labels(clip, model.classes, len(frames), duration_s, feature_length(len(frames)))
        prepared.append(PreparedClip(clip.name, frames, flow, labels, duration_s, clip))
    return prepared


def hold_out(clips: Sequence[PreparedClip], share: float) -> tuple[list[PreparedClip], list[PreparedClip]]:
    """Split into clips to train on and clips to validate with, of which each class has about the same share.

    A clip counts for the class of its first instance. At least one clip is held out. Raises TrainingError where less
    than two clips would leave nothing to train on.
    """
    if len(clips) < 2:
        raise TrainingError(f"{len(clips)} training clip, expected at least 2, one of them to validate with")
    seen: dict[str | None, int] = {}
    kept: list[PreparedClip] = []
    held: list[PreparedClip] = []
    for clip in clips:
        label = clip.annotation.instances[0].label if clip.annotation.instances else None
        count = seen[label] = seen.get(label, 0) + 1
        (held if int(count * share + 0.5) > int((count - 1) * share + 0.5) else kept).append(clip)
    if not held:
        held.append(kept.pop())
    return kept, held


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


def _video(data: Path, name: str) -> Path:
    folder = data / "videos"
    path = folder / f"{name}.mp4"
    if path.exists():
        return path
    others = sorted(p for p in folder.iterdir() if name in (p.name, p.stem)) if folder.is_dir() else []
    if not others:
        raise TrainingError(f"{path}: no such video, expected one for each clip of {ANNOTATIONS}")
    return others[0]


def _cache_file(data: Path, video: Path, name: str, model: ModelConfig) -> Path:
    """The file that holds this clip prepared this way; another content of the video has another name."""
    state = video.stat()
    content = [name, state.st_size, state.st_mtime_ns, model.size, FRAME_MODE, model.flow_channels]
    key = hashlib.sha256(json.dumps([*content, tvl1.VERSION, _PREPARED]).encode()).hexdigest()[:16]
    return data / ".cache" / f"{re.sub(r'[^0-9A-Za-z_-]', '_', name)[:80]}-{key}.npz"


def _read_cache(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float16], float] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["frames"], file["flow"], float(file["duration_s"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # not there, or damaged: prepared anew


def _prepare(
    video: Path, cache: Path, size: int, channels: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16], float]:
    """Decode and resize a video, compute its flow, keep both in the cache; runs in a process of its own."""
    import cv2

    cv2.setNumThreads(1)
    read = read_video(video, size=size, mode=FRAME_MODE, min_frames=MIN_FRAMES)
    flow = tvl1.tvl1_flow(read.frames, channels)
    try:
        with whole_file(cache) as temporary:
            np.savez(temporary, frames=read.frames, flow=flow, duration_s=read.duration_s)
    except OSError:
        pass  # a data set on a read-only disk
    return read.frames, flow, read.duration_s

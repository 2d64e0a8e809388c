"""Frames and TV-L1 flow of clips, computed once and cached on disk.

A cache file's name depends on everything that decides its content: the video (size and modification time), the
network's preparation, flow channels and flow stride, and the version of the flow's settings. A network without flow
tower needs no flow and has files with frames alone; it also reads complete ones.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.files import whole_file
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.training import tvl1
from infdet_deploy.video.frames import Video, read_prepared
from infdet_deploy.video.images import picture_files
from infdet_deploy.video.timeline import Part

CACHE = ".cache"  # in the data set's folder
_VERSION = 6  # of the cache files


class Prepared(NamedTuple):
    """frames uint8 [T, S, S]; flow float16 [T−1, c, h, w], c = 0 for a network without flow tower; duration_s: the end
    of the last frame; parts: as `Video.parts`, between which the flow is 0; empty: one part from 0 s.

    The arrays are mapped from the cache file, so a data set may be larger than the memory.
    """

    frames: NDArray[np.uint8]
    flow: NDArray[np.float16]
    duration_s: float
    parts: tuple[Part, ...] = ()


def prepare_clips(
    data: DataSet,
    clips: Sequence[Clip],
    model: ModelConfig,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> list[Prepared]:
    """Frames and flow of clips, from the cache where possible.

    on_progress is called with the clips done and their total. workers: processes, by default one per CPU. An
    interrupted call continues where it stopped. If the cache cannot be written, the arrays stay in memory.

    Raises VideoError for videos that cannot be read or have less than 16 frames.
    """
    caches = [cache_file(data, clip, model) for clip in clips]
    found = [read_cache(cache, model) for cache in caches]
    missing = [index for index, entry in enumerate(found) if entry is None]
    done = len(clips) - len(missing)
    if on_progress is not None:
        on_progress(done, len(clips))
    jobs = [(data.media[clips[i].name], caches[i], model, data.pictures_rate(clips[i])) for i in missing]
    for job, result in in_processes(_make, jobs, workers):
        index = missing[job]
        found[index] = result or read_cache(caches[index], model)
        done += 1
        if on_progress is not None:
            on_progress(done, len(clips))
    return [entry for entry in found if entry is not None]


def cache_file(data: DataSet, clip: Clip, model: ModelConfig) -> Path:
    """The cache file of a clip for a network; its name changes with the frames."""
    complete = _path(data, clip, model)
    if model.has_flow or complete.is_file():
        return complete
    return _path(data, clip, model, frames_only=True)


def _path(data: DataSet, clip: Clip, model: ModelConfig, frames_only: bool = False) -> Path:
    video = data.media[clip.name]
    files = picture_files(video) if video.is_dir() else [video]
    state = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    flow = ["frames only"] if frames_only else [model.flow_channels, model.flow_stride, tvl1.VERSION]
    steps = [*vars(model.preparation()).values(), data.pictures_rate(clip)]
    key = hashlib.sha256(json.dumps([clip.name, state, *steps, *flow, _VERSION]).encode())
    name = re.sub(r"[^0-9A-Za-z_-]", "_", clip.name)[:80]
    return data.root / CACHE / f"{name}-{key.hexdigest()[:16]}.safetensors"


def read_cache(path: Path, model: ModelConfig) -> Prepared | None:
    """The content of a cache file; None if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        # PyTorch's tensors are views of the mapped file; NumPy's would be copies of it.
        with safe_open(path, "pt") as file:
            stored = file.metadata() or {}
            duration_s, fps, lengths = float(stored["duration_s"]), float(stored["fps"]), json.loads(stored["parts"])
            times_s = np.split(file.get_tensor("times_s").numpy(), np.cumsum(lengths)[:-1])
            frames = file.get_tensor("frames").numpy()
            flow = file.get_tensor("flow").numpy() if model.has_flow else _no_flow(len(frames), model)
            return Prepared(frames, flow, duration_s, tuple(Part(fps, times) for times in times_s))
    except (OSError, KeyError, ValueError, SafetensorError):
        return None


def _no_flow(frames: int, model: ModelConfig) -> NDArray[np.float16]:
    return np.empty((frames - 1, 0, model.flow_size, model.flow_size), np.float16)


def _make(video: Path, cache: Path, model: ModelConfig, fps: float | None) -> Prepared | None:
    """Prepare one clip, in its own process. Returns None if the result is in the cache."""
    import cv2
    from safetensors.numpy import save

    cv2.setNumThreads(1)
    read = read_prepared(video, model.preparation(), fps, MIN_FRAMES)
    arrays: dict[str, NDArray[Any]] = {"frames": read.frames, "times_s": read.timestamps_s}
    flow = _no_flow(len(read.frames), model)
    if model.has_flow:
        arrays["flow"] = flow = _flow(read, model)
    described = {"duration_s": repr(read.duration_s), "fps": repr(read.fps)}
    described["parts"] = json.dumps([len(part.times_s) for part in read.parts])
    try:
        with whole_file(cache) as temporary:
            temporary.write_bytes(save(arrays, described))
    except OSError:  # a data set on a read-only disk
        return Prepared(read.frames, flow, read.duration_s, read.parts)
    return None


def _flow(video: Video, model: ModelConfig) -> NDArray[np.float16]:
    """The flow of all frames, [T−1, c, h, w]; 0 from a part's last frame to the next part."""
    flow: list[NDArray[np.float16]] = []
    for _, frames in video.clips:
        if flow:
            flow.append(np.zeros_like(flow[0][:1]))
        flow.append(tvl1.tvl1_flow(frames, model.flow_channels, model.flow_stride))
    return np.concatenate(flow)

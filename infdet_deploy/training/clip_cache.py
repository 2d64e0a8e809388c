"""What preparing a clip costs, paid once: its frames resized, its TV-L1 flow computed, both in a cache on disk.

A cache file's name follows from all that decides its content: the video (size and time of change), the network's size,
flow channels and flow stride, and the version of the flow's settings.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.annotations import Clip
from infdet_deploy.files import whole_file
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import MIN_FRAMES
from infdet_deploy.training import tvl1
from infdet_deploy.video.frames import read_video
from infdet_deploy.video.images import picture_files
from infdet_deploy.video.resize import Mode

CACHE = ".cache"  # in the data set's folder
FRAME_MODE: Mode = "resize"  # how frames are brought to the network's size
_VERSION = 3  # of the cache files


class Prepared(NamedTuple):
    """frames uint8 [T, S, S]; flow float16 [T−1, c, h, w]; duration_s: T frames at the video's rate.

    The arrays lie in the cache file and are read as they are touched, so a data set may be larger than the memory.
    """

    frames: NDArray[np.uint8]
    flow: NDArray[np.float16]
    duration_s: float


def prepare_clips(
    data: DataSet,
    clips: Sequence[Clip],
    model: ModelConfig,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> list[Prepared]:
    """Frames and flow of clips, from the cache where they are ready.

    on_progress is called with the numbers of clips done and in all. workers: processes, as many as there are CPUs by
    default. Stopped at any moment, it goes on from there the next time. A cache that cannot be written is done
    without; the arrays then lie in memory.

    Raises VideoError for videos that cannot be read or have less than 16 frames.
    """
    caches = [cache_file(data, clip, model) for clip in clips]
    found = [read_cache(cache) for cache in caches]
    missing = [index for index, entry in enumerate(found) if entry is None]
    done = len(clips) - len(missing)
    if on_progress is not None:
        on_progress(done, len(clips))
    jobs = [
        (data.media[clips[index].name], caches[index], model.size, model.flow_channels, model.flow_stride)
        for index in missing
    ]
    for job, result in in_processes(_make, jobs, workers):
        index = missing[job]
        found[index] = result or read_cache(caches[index])
        done += 1
        if on_progress is not None:
            on_progress(done, len(clips))
    return [entry for entry in found if entry is not None]


def cache_file(data: DataSet, clip: Clip, model: ModelConfig) -> Path:
    """The file that holds this clip prepared for this network; other frames have another name."""
    video = data.media[clip.name]
    files = picture_files(video) if video.is_dir() else [video]
    state = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    content = [clip.name, state, model.size, FRAME_MODE, model.flow_channels, model.flow_stride, tvl1.VERSION, _VERSION]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return data.root / CACHE / f"{re.sub(r'[^0-9A-Za-z_-]', '_', clip.name)[:80]}-{key}.safetensors"


def read_cache(path: Path) -> Prepared | None:
    """What a cache file holds; None where there is none, or a damaged one, which is then made anew."""
    from safetensors import SafetensorError, safe_open

    try:
        # PyTorch's tensors are views of the mapped file; NumPy's would be copies of it.
        with safe_open(path, "pt") as file:
            duration_s = float((file.metadata() or {})["duration_s"])
            return Prepared(file.get_tensor("frames").numpy(), file.get_tensor("flow").numpy(), duration_s)
    except (OSError, KeyError, ValueError, SafetensorError):
        return None


def _make(video: Path, cache: Path, size: int, channels: int, stride: int) -> Prepared | None:
    """Prepare one clip, in a process of its own; None when it lies in the cache, where the caller finds it."""
    import cv2
    from safetensors.numpy import save

    cv2.setNumThreads(1)
    read = read_video(video, size=size, mode=FRAME_MODE, min_frames=MIN_FRAMES)
    flow = tvl1.tvl1_flow(read.frames, channels, stride)
    try:
        with whole_file(cache) as temporary:
            temporary.write_bytes(save({"frames": read.frames, "flow": flow}, {"duration_s": repr(read.duration_s)}))
    except OSError:  # a data set on a read-only disk
        return Prepared(read.frames, flow, read.duration_s)
    return None

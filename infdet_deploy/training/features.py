"""Infrared features of a tower that is not trained: computed once for each clip, cached beside its frames and flow."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.annotations import Clip
from infdet_deploy.files import whole_file
from infdet_deploy.model.i3d import I3D
from infdet_deploy.model.network import to_grey
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS, chunks
from infdet_deploy.training.clip_cache import cache_file
from infdet_deploy.training.dataset import PreparedClip
from infdet_deploy.training.settings import TrainConfig


def are_fixed(model: ModelConfig, config: TrainConfig) -> bool:
    """Whether clips have the same infrared features at every step: whole, as they are, through a frozen tower."""
    augmented = config.mirror or config.jitter > 0 or config.shift > 0
    return model.streams != "flow" and config.freeze_towers and config.chunk_snippets > 0 and not augmented


def tower_key(tower: I3D) -> str:
    """Changes with any weight or statistic of the tower."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def infrared_features(
    data: DataSet,
    clips: Sequence[PreparedClip],
    model: ModelConfig,
    tower: I3D,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """The clips' features, float32 [T', d] on the CPU, from the cache where they are ready; up to 3 frames at a clip's
    end are dropped. The tower is in eval mode afterwards.

    on_progress is called with the numbers of clips done and in all. Each file is whole or absent, so that a stopped
    call goes on from there the next time; a cache that cannot be written is done without.
    """
    key, found = tower_key(tower), []
    for index, clip in enumerate(clips):
        found.append(_features(feature_file(data, clip.annotation, model, key), clip, tower))
        if on_progress is not None:
            on_progress(index + 1, len(clips))
    return found


def feature_file(data: DataSet, clip: Clip, model: ModelConfig, key: str) -> Path:
    """The file that holds a clip's features from the tower of this key; other frames have another name, too."""
    cache = cache_file(data, clip, model)
    return cache.with_name(f"{cache.stem}-infrared-{key}.safetensors")


def _features(path: Path, clip: PreparedClip, tower: I3D) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

    try:
        return load_file(path)["features"]
    except (OSError, KeyError, SafetensorError):  # none there, or a damaged one, which is then made anew
        pass
    features = compute_features(clip.frames, tower)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(save({"features": features}))
    except OSError:  # a data set on a read-only disk
        pass
    return features


def compute_features(frames: np.ndarray, tower: I3D) -> Tensor:
    """frames uint8 [T, S, S] → float32 [T', d], in chunks with the tower's halo."""
    device = next(tower.parameters()).device
    tower.eval()
    total, parts = len(frames) // 4 * 4, []
    with torch.inference_mode():
        for start, stop, keep in chunks(total, CHUNK_SNIPPETS):
            grey = to_grey(torch.from_numpy(np.ascontiguousarray(frames[start:stop])).to(device))
            parts.append(tower(grey[None, None])[0, keep].float().cpu())
    return torch.cat(parts).clone()

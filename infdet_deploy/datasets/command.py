"""Checking, converting and preparing data sets."""

import dataclasses
from pathlib import Path
from typing import Any

from infdet_deploy.console import progress
from infdet_deploy.errors import UsageError


def check_dataset(data: Path, classes: str | None, fps: float | None, picture: Path | None) -> dict[str, Any]:
    """The report of `datasets.check`, and a picture of it where asked for."""
    from infdet_deploy.datasets.checks import check_dataset as check

    with progress("decode") as update:
        dataset, report = check(data, fps, names(classes), update)
    if picture is not None:
        from infdet_deploy.plots.lengths import draw_dataset

        draw_dataset(picture, dataset)
    return report


def convert_dataset(data: Path, out: Path, form: str, classes: str | None, fps: float | None) -> tuple[int, list[str]]:
    """Convert; the number of clips written, and what the format cannot hold."""
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.datasets.conversion import FORMATS, convert

    if form not in FORMATS:
        raise UsageError(f"--to is '{form}', expected one of {', '.join(FORMATS)}")
    if out.exists():
        raise UsageError(f"{out} exists; choose another name or remove it")
    dataset = open_dataset(data, fps, names(classes))
    return len(dataset.clips), convert(dataset, out, form, fps)


def prepare_dataset(
    data: Path, preset_name: str, workers: int | None, weights: Path | None = None
) -> tuple[int, int, int]:
    """Fill the cache; clips made now, clips that were ready, bytes in the cache.

    weights: a checkpoint, whose size goes before the preset's, and whose infrared tower's features are cached as well.
    """
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.training.dataset import prepared_clips
    from infdet_deploy.training.features import infrared_features
    from infdet_deploy.training.prepare import CACHE, prepare

    network = None if weights is None else load_network(weights)[0]
    model = preset(preset_name) if network is None else network.config
    if network is not None and network.infrared_tower is None:
        raise UsageError(f"{weights} has no infrared tower, so there are no features to cache")
    dataset = open_dataset(data)
    with progress("prepare") as update:
        made, there = prepare(dataset, model, update, workers)
    if network is not None and network.infrared_tower is not None:
        seen = [clip for clip in dataset.clips if clip.name in dataset.media]
        labels = {one.label for clip in seen for one in clip.instances} | {clip.label for clip in seen} - {""}
        clips = prepared_clips(
            dataset, seen, dataclasses.replace(model, classes=tuple(sorted(labels)) or model.classes)
        )
        with progress("features") as update:
            infrared_features(dataset, clips, model, network.infrared_tower, update)
    return made, there, sum(file.stat().st_size for file in (dataset.root / CACHE).glob("*.safetensors"))


def names(classes: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in classes.split(",")) if classes else None

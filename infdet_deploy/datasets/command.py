"""Checking and converting data sets."""

from pathlib import Path
from typing import Any

from infdet_deploy.console import progress
from infdet_deploy.errors import UsageError


def check_dataset(
    data: Path, classes: tuple[str, ...] | None, fps: float | None, picture: Path | None
) -> dict[str, Any]:
    """The report of `datasets.check`, and a picture of it where asked for."""
    from infdet_deploy.datasets.checks import check_dataset as check

    with progress("decode") as update:
        dataset, report = check(data, fps, classes, update)
    if picture is not None:
        from infdet_deploy.plots.lengths import draw_dataset

        draw_dataset(picture, dataset)
    return report


def convert_dataset(
    data: Path, out: Path, form: str, classes: tuple[str, ...] | None, fps: float | None
) -> tuple[int, list[str]]:
    """Convert; the number of clips written, and what the format cannot hold."""
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.datasets.conversion import FORMATS, convert

    if form not in FORMATS:
        raise UsageError(f"--to is '{form}', expected one of {', '.join(FORMATS)}")
    if out.exists():
        raise UsageError(f"{out} exists; choose another name or remove it")
    dataset = open_dataset(data, fps, classes)
    return len(dataset.clips), convert(dataset, out, form, fps)

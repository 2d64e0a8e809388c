"""Writing a data set's annotations in another format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from infdet_deploy.config import to_dict
from infdet_deploy.datasets.annotations import write_annotations
from infdet_deploy.datasets.folder import DataSet, open_dataset
from infdet_deploy.datasets.formats import FormatName
from infdet_deploy.errors import AnnotationError, UsageError


@dataclass(frozen=True)
class ConversionResult:
    """out: the file or folder written. clips: number of clips. lost: what the format cannot store, a line each."""

    out: str
    format: FormatName
    clips: int
    lost: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return to_dict(self)


def convert_dataset(
    data: DataSet | Path | str,
    out: Path | str,
    format: FormatName,
    classes: Sequence[str] | None = None,
    fps: float | None = None,
) -> ConversionResult:
    """Write the annotations of a data set to `out`, a new file, or for `thumos` a new folder.

    classes: as for `open_dataset`. fps: frame rate for Label Studio, which counts frames; default: each video's own.
    Raises UsageError for an unknown format and an existing `out`, AnnotationError for clips without times.
    """
    if format not in get_args(FormatName):
        raise UsageError(f"format is '{format}', expected one of {', '.join(get_args(FormatName))}")
    if Path(out).exists():
        raise UsageError(f"{out} exists; choose another name or remove it")
    if not isinstance(data, DataSet):
        data = open_dataset(data, fps, classes)
    if any(clip.label for clip in data.clips):
        raise AnnotationError(f"{data.root}: clips sorted by class have no times, which every format needs")
    lost = write_annotations(out, data.clips, format, data.classes, fps or data.frame_rate)
    return ConversionResult(str(out), format, len(data.clips), lost)

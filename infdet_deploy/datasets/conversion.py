"""The same annotations in another format."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from infdet_deploy.datasets.annotations import write_activitynet, write_class_files, write_infdet, write_label_studio
from infdet_deploy.datasets.folder import DataSet
from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import whole_folder

Format = Literal["activitynet", "infdet", "thumos", "label-studio"]
FORMATS: tuple[Format, ...] = ("activitynet", "infdet", "thumos", "label-studio")


def convert(data: DataSet, out: Path | str, form: Format, fps: float | None = None) -> list[str]:
    """Write a data set's annotations to `out`, a file, or for `thumos` a folder; whole or not at all.

    fps: frame rate for Label Studio, which counts frames; without it each video's own is taken. Returns what the
    format cannot hold, in words; the rest reads back equal. Raises AnnotationError for what has no place in it.
    """
    if any(clip.label for clip in data.clips):
        raise AnnotationError(f"{data.root}: clips sorted by class have no times, which every format needs")
    writers: dict[Format, Callable[[], list[str]]] = {
        "activitynet": lambda: write_activitynet(out, data.clips, data.classes),
        "infdet": lambda: write_infdet(out, data.clips, data.classes),
        "label-studio": lambda: write_label_studio(out, data.clips, lambda name: fps or data.frame_rate(name)),
        "thumos": lambda: _thumos(data, Path(out)),
    }
    return writers[form]()


def _thumos(data: DataSet, out: Path) -> list[str]:
    with whole_folder(out) as folder:
        return write_class_files(folder, data.clips, data.classes)

"""Annotation formats, one module each. To add one, write the functions of `Format` and add a line to FORMATS."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from infdet_deploy.datasets.formats import activitynet, infdet, label_studio, thumos
from infdet_deploy.datasets.formats.parsing import FormatOptions
from infdet_deploy.datasets.instances import Clip

FormatName = Literal["activitynet", "infdet", "thumos", "label-studio"]


class Format(Protocol):
    """An annotation format; its module implements these functions."""

    def recognises(self, path: Path, content: Any) -> bool:
        """Whether a path is in this format. content: the parsed JSON of a file, None for a folder."""

    def read(self, path: Path, content: Any, options: FormatOptions) -> list[Clip]:
        """All clips, in file order. Entries that cannot be used go to `options.report`."""

    def write(self, path: Path, clips: Sequence[Clip], options: FormatOptions) -> list[str]:
        """Write clips, atomically; returns a line for each thing that the format cannot store.

        Raises AnnotationError for clips that could not be read back.
        """


FORMATS: dict[FormatName, Format] = {
    "activitynet": activitynet,
    "infdet": infdet,
    "thumos": thumos,
    "label-studio": label_studio,
}
assert tuple(FORMATS) == get_args(FormatName)

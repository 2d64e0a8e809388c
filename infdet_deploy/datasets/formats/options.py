"""The settings of readers and writers of annotation formats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infdet_deploy.datasets.formats.parsing import Report, refuse

FrameRate = Callable[[str], float | None]  # a clip's name → its frames per second, None if unknown


def frame_rate(fps: float | FrameRate | None) -> FrameRate:
    """A function from a number; None: every clip's frame rate is unknown."""
    return fps if callable(fps) else lambda name: fps


@dataclass(frozen=True)
class FormatOptions:
    """classes: in the order of class indices. fps: for formats that count frames. report: called with each error."""

    classes: Sequence[str]
    fps: FrameRate
    report: Report = refuse

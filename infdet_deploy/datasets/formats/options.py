"""What readers and writers of annotation formats are given besides the path."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infdet_deploy.datasets.formats.parsing import Report, refuse
from infdet_deploy.detections import INFDET_CLASSES

FrameRate = Callable[[str], float | None]  # a clip's name → its frames per second, None if unknown


def unknown_rate(name: str) -> float | None:
    """The frame rate of a clip about which nothing is known."""
    return None


@dataclass(frozen=True)
class FormatOptions:
    """Settings that some of the formats need.

    classes: names in the order of class indices. fps: for formats that count frames. report: called with each error in
    the file.
    """

    classes: Sequence[str] = INFDET_CLASSES
    fps: FrameRate = unknown_rate
    report: Report = refuse

"""Annotated actions, annotated clips and scored detections. Times are seconds from the clip's start."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from infdet_deploy.detections import INFDET_CLASSES

AMBIGUOUS = "Ambiguous"  # the label of THUMOS'14
SUBSETS = {
    "training": "training", "train": "training", "validation": "validation", "val": "validation",
    "testing": "testing", "test": "testing",
}  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """One annotated action. `where` is its place in the annotation file, for messages."""

    label: str
    start_s: float
    end_s: float
    where: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Clip:
    """The annotation of one video.

    duration_s, subset: None where the format does not store them. instances: in file order. label: the class of a
    trimmed clip, which shows one action from start to end; empty for clips with timed instances. ambiguous: intervals
    of the label `Ambiguous`, which is no class: detections there are neither right nor wrong.
    """

    name: str
    duration_s: float | None
    subset: str | None
    instances: tuple[Instance, ...]
    where: str = field(default="", compare=False, repr=False)
    label: str = ""
    ambiguous: tuple[Instance, ...] = ()

    def labels(self) -> Iterator[tuple[str, str]]:
        """The labels of the clip and its instances, each with its place."""
        places = [(self.label, self.where), *((one.label, one.where) for one in self.instances)]
        yield from ((label, where) for label, where in places if label)


@dataclass(frozen=True)
class ScoredInstance:
    """One detection in a named video. A higher score means more confidence."""

    video: str
    label: str
    start_s: float
    end_s: float
    score: float


def canonical_subset(subset: str | None) -> str | None:
    """`training`, `validation` or `testing` for their short names; other names unchanged."""
    return None if subset is None else SUBSETS.get(subset.lower(), subset)


def classes_of(clips: Sequence[Clip]) -> tuple[str, ...]:
    """InfDet's three classes if no other label occurs, else all labels by name."""
    labels = {label for clip in clips for label, _ in clip.labels()}
    trimmed = any(clip.label for clip in clips)
    return INFDET_CLASSES if labels <= set(INFDET_CLASSES) and not trimmed else tuple(sorted(labels))

"""What is wrong or doubtful in annotations, and how long their instances are."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from infdet_deploy.datasets.instances import Clip

# The paper's Table II counts instances below 5 s, from 5 s and from 10 s on.
LENGTH_EDGES_S = (5.0, 10.0)


def problems(clips: Sequence[Clip], classes: Sequence[str] | None = None) -> Iterator[str]:
    """One line for each problem, with the place in the file: instances outside their clip, unknown classes, overlaps.

    classes: the labels that may occur; None allows any. Two instances of one class in a clip overlap when they share
    time; such a pair cannot be told apart by any detection.
    """
    for clip in clips:
        if clip.label and classes is not None and clip.label not in classes:
            yield f"{clip.where}: class '{clip.label}' of clip '{clip.name}' is not one of {', '.join(classes)}"
        for one in clip.instances:
            if classes is not None and one.label not in classes:
                yield f"{one.where}: class '{one.label}' of clip '{clip.name}' is not one of {', '.join(classes)}"
            if one.start_s < 0:
                yield f"{one.where}: starts at {one.start_s:g} s, before clip '{clip.name}' begins"
            if clip.duration_s is not None and one.end_s > clip.duration_s + 1e-6:
                yield f"{one.where}: ends at {one.end_s:g} s, after clip '{clip.name}' of {clip.duration_s:g} s"
        for label in dict.fromkeys(one.label for one in clip.instances):
            same = sorted((i for i in clip.instances if i.label == label), key=lambda i: (i.start_s, i.end_s))
            for one, other in pairwise(same):
                if other.start_s < one.end_s:
                    yield (
                        f"{other.where}: {label} {other.start_s:g}–{other.end_s:g} s overlaps "
                        f"{one.start_s:g}–{one.end_s:g} s of clip '{clip.name}', at {one.where}"
                    )


def length_table(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """For each class the numbers of instances below 5 s, below 10 s, and longer (the paper's Table II)."""
    table: dict[str, tuple[int, ...]] = {}
    for label in classes:
        lengths_s = [one.end_s - one.start_s for clip in clips for one in clip.instances if one.label == label]
        over = [sum(length_s >= edge for length_s in lengths_s) for edge in LENGTH_EDGES_S]
        table[label] = (len(lengths_s) - over[0], over[0] - over[1], over[1])
    return table

"""Problems in annotations, and the lengths of their instances."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from infdet_deploy.datasets.instances import Clip, Instance

LENGTH_EDGES_S = (5.0, 10.0)  # the paper's Table II: below 5 s, 5 to 10 s, from 10 s


def problems(clips: Sequence[Clip], classes: Sequence[str]) -> Iterator[str]:
    """A line for each problem, with file and line: instances outside their clip, unknown classes, overlaps.

    classes: the allowed labels. Instances of one class that share time are a problem because detections cannot separate
    them.
    """
    for clip in clips:
        for label, where in [(clip.label, clip.where), *((one.label, one.where) for one in clip.instances)]:
            if label and label not in classes:
                yield f"{where}: class '{label}' of clip '{clip.name}' is not one of {', '.join(classes)}"
        for one in clip.instances:
            if one.start_s < 0:
                yield f"{one.where}: starts at {one.start_s:g} s, before clip '{clip.name}' begins"
            if clip.duration_s is not None and one.end_s > clip.duration_s + 1e-6:
                yield f"{one.where}: ends at {one.end_s:g} s, after clip '{clip.name}' of {clip.duration_s:g} s"
        for one, other in _overlaps(clip):
            yield (
                f"{other.where}: {one.label} {other.start_s:g}–{other.end_s:g} s overlaps "
                f"{one.start_s:g}–{one.end_s:g} s of clip '{clip.name}', at {one.where}"
            )


def _overlaps(clip: Clip) -> Iterator[tuple[Instance, Instance]]:
    """Neighbouring instances of one class that share time."""
    for label in dict.fromkeys(one.label for one in clip.instances):
        same = sorted((i for i in clip.instances if i.label == label), key=lambda i: (i.start_s, i.end_s))
        yield from ((one, other) for one, other in pairwise(same) if other.start_s < one.end_s)


def length_table(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Numbers of instances below 5 s, of 5 to 10 s, and from 10 s, by class (the paper's Table II)."""
    table: dict[str, tuple[int, ...]] = {}
    for label in classes:
        lengths_s = [one.end_s - one.start_s for clip in clips for one in clip.instances if one.label == label]
        over = [sum(length_s >= edge for length_s in lengths_s) for edge in LENGTH_EDGES_S]
        table[label] = (len(lengths_s) - over[0], over[0] - over[1], over[1])
    return table

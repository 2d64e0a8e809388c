"""Detections and annotations meet by the names of videos and classes; where they do not, it is said."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from infdet_deploy.console import say
from infdet_deploy.datasets import DataSet
from infdet_deploy.datasets.instances import Clip, ScoredInstance
from infdet_deploy.datasets.names import alike, meet, nearest, quoted
from infdet_deploy.errors import AnnotationError


def match_names(
    detections: Sequence[ScoredInstance], clips: Sequence[Clip], data: DataSet, source: str
) -> list[ScoredInstance]:
    """The detections under the names of the clips, see `names.meet`.

    clips: those judged. source: the detection file, for messages. A note tells names of videos and classes that the
    annotations do not have. Raises AnnotationError if none of the videos or classes is known, if a name is spelt almost
    like one that is and has no detections, or if two videos fit one clip.
    """
    videos = {one.video for one in detections}
    names = meet(videos, [clip.name for clip in data.clips], source)
    judged = {clip.name for clip in clips}
    if videos and not judged & set(names.values()):
        raise AnnotationError(
            f"{source}: none of the {len(videos)} videos with detections is among the {len(clips)} clips judged: "
            f"{quoted(sorted(videos))}, but the clips are {quoted(sorted(judged))}"
            f"{nearest(min(videos), sorted(judged))}"
        )
    _compare("video", videos - names.keys(), judged - set(names.values()), judged, source)
    labels = {one.label for one in detections}
    known = {*data.classes, *(one.label for clip in data.clips for one in clip.instances)}
    if labels and not labels & known:
        raise AnnotationError(
            f"{source}: none of the classes {quoted(sorted(labels))} is in the annotations, which have "
            f"{quoted(sorted(known))}{nearest(min(labels), sorted(known))}"
        )
    _compare("class", labels - known, known - labels, known, source)
    return [replace(one, video=names.get(one.video, one.video)) for one in detections]


def _compare(kind: str, unknown: Collection[str], free: Collection[str], known: Collection[str], source: str) -> None:
    """Refuse an unknown name that is spelt almost like one without detections; note the others."""
    for name in sorted(unknown):
        if (meant := alike(name, sorted(free))) is not None:
            raise AnnotationError(
                f"{source}: {kind} '{name}' is not in the annotations, '{meant}' is; use one spelling in both"
            )
    if unknown:
        first = min(unknown)
        plural = {"video": "videos", "class": "classes"}[kind]
        say(
            f"note: {source}: detections of {len(unknown)} {plural} that the annotations do not have count as wrong: "
            f"{quoted(sorted(unknown))}{nearest(first, sorted(known))}"
        )

"""Annotations of recordings with pauses: each part is a clip of its own."""

from collections.abc import Sequence
from dataclasses import replace

from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.video.timeline import Part


def clips_of_parts(clip: Clip, parts: Sequence[Part]) -> list[Clip]:
    """The annotation of each part, in seconds from its first frame.

    Instances and ambiguous intervals are cut at a part's ends; a part of several is called `NAME part N`. The
    annotation of a recording in one part is cut nowhere, and is `clip` itself where frames are evenly spaced from 0 s.
    """
    if len(parts) == 1 and parts[0].even and parts[0].times_s[0] == 0:
        return [clip]
    found = []
    for number, part in enumerate(parts, 1):
        name, length_s = clip.name if len(parts) == 1 else f"{clip.name} part {number}", len(part.times_s) / part.fps
        instances, ambiguous = (
            _inside(part, listed, len(parts) > 1, length_s) for listed in (clip.instances, clip.ambiguous)
        )
        found.append(replace(clip, name=name, duration_s=length_s, instances=instances, ambiguous=ambiguous))
    return found


def _inside(part: Part, instances: Sequence[Instance], cut: bool, length_s: float) -> tuple[Instance, ...]:
    """The instances in seconds from the part's first frame, with `cut` only what lies inside the part."""
    found = []
    for one in instances:
        start_s, end_s = part.local_s(one.start_s), part.local_s(one.end_s)
        if cut:
            start_s, end_s = max(start_s, 0.0), min(end_s, length_s)
        if start_s < end_s:
            found.append(replace(one, start_s=start_s, end_s=end_s))
    return tuple(found)

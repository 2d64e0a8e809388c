"""A picture of a data set: instance lengths by class, and the timelines of its clips."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.datasets.folder import DataSet
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.errors import UsageError
from infdet_deploy.plots.figure import COLOURS, legend_below, plain, pyplot, save_figure

_CLIPS_SHOWN = 60


def draw_dataset(path: Path | str, data: DataSet, decoded_s: Mapping[str, float]) -> Path:
    """Write a PNG: a histogram of instance lengths for each class, and timelines of up to 60 clips.

    decoded_s: length of the clips' frames in seconds, by clip, where known. Raises InfdetError without matplotlib, and
    UsageError for clips without times.
    """
    if any(clip.label for clip in data.clips):
        raise UsageError(f"{data.root}: clips sorted by class have no times to draw; leave --picture out")
    step = max(1, -(-len(data.clips) // _CLIPS_SHOWN))
    shown = data.clips[::step]
    figure = pyplot().figure(figsize=(13, 3.4 + 0.11 * len(shown)), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.7))
    colours = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(data.classes)}
    _lengths(left, data, colours)
    panel = right.subplots()
    for row, clip in enumerate(shown):
        end_s, known = _end(clip, decoded_s)
        panel.barh(row, end_s, 0.35, 0, color="#dddddd" if known else "none", edgecolor="#bbbbbb", linewidth=0.5)
        for one in clip.instances:
            if one.label in colours:
                panel.barh(row, one.end_s - one.start_s, 0.8, one.start_s, color=colours[one.label])
    which = "all clips" if step == 1 else f"{len(shown)} of {len(data.clips)} clips"
    panel.set(xlabel="time (s)", ylabel="clips", ylim=(len(shown) - 0.5, -0.5), yticks=[], title=which)
    bars = [pyplot().Rectangle((0, 0), 1, 1, facecolor=face, edgecolor="#bbbbbb") for face in ("#dddddd", "none")]
    legend_below(right, bars, ["clip length", "length unknown: up to the last instance"])
    return save_figure(figure, path)


def _end(clip: Clip, decoded_s: Mapping[str, float]) -> tuple[float, bool]:
    """Where a clip ends, and whether that is known: decoded, else annotated, else its last instance's end."""
    known_s = decoded_s.get(clip.name, clip.duration_s)
    if known_s is not None:
        return known_s, True
    return max((one.end_s for one in clip.instances), default=0.0), False


def _lengths(part: Any, data: DataSet, colours: Mapping[str, str]) -> None:
    panel = part.subplots()
    found = [[i.end_s - i.start_s for c in data.clips for i in c.instances if i.label == name] for name in colours]
    longest_s = max((length_s for row in found for length_s in row), default=1.0)
    names = [f"{plain(name)} ({len(row)})" for name, row in zip(colours, found, strict=True)]
    panel.hist(found, bins=np.linspace(0, longest_s, 25).tolist(), color=list(colours.values()), label=names)
    panel.set(xlabel="length of an instance (s)", ylabel="instances", title=f"{len(data.clips)} clips")
    panel.yaxis.get_major_locator().set_params(integer=True)
    legend_below(part)

"""One picture of a data set: how long instances are, and what happens when in the clips."""

from pathlib import Path

import numpy as np

from infdet_deploy.datasets.folder import DataSet
from infdet_deploy.errors import UsageError
from infdet_deploy.plots.clip import COLOURS, pyplot, save_figure

_CLIPS_SHOWN = 60


def draw_dataset(path: Path | str, data: DataSet) -> Path:
    """Write a PNG: a histogram of lengths for each class, and the first clips' timelines.

    Raises InfdetError without matplotlib, and UsageError for clips without times.
    """
    if any(clip.label for clip in data.clips):
        raise UsageError(f"{data.root}: clips sorted by class have no times to draw; leave the picture out")
    plt = pyplot()

    step = max(1, -(-len(data.clips) // _CLIPS_SHOWN))
    shown = data.clips[::step]
    figure, (lengths, lines) = plt.subplots(
        1, 2, figsize=(13, 3.2 + 0.11 * len(shown)), width_ratios=(1, 1.7), layout="constrained"
    )
    found = [[i.end_s - i.start_s for c in data.clips for i in c.instances if i.label == name] for name in data.classes]
    longest_s = max((length_s for row in found for length_s in row), default=1.0)
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(data.classes))]
    names = [f"{name} ({len(row)})" for name, row in zip(data.classes, found, strict=True)]
    lengths.hist(found, bins=np.linspace(0, longest_s, 25).tolist(), color=colours, label=names)
    lengths.set(xlabel="length of an instance (s)", ylabel="instances", title=f"{len(data.clips)} clips")
    lengths.legend()
    for row, clip in enumerate(shown):
        end_s = clip.duration_s or max((one.end_s for one in clip.instances), default=0.0)
        lines.barh(row, end_s, 0.35, 0, color="#dddddd")
        for one in clip.instances:
            if one.label in data.classes:
                colour = colours[data.classes.index(one.label)]
                lines.barh(row, one.end_s - one.start_s, 0.8, one.start_s, color=colour)
    which = "all clips" if step == 1 else f"{len(shown)} of {len(data.clips)} clips"
    lines.set(xlabel="time (s)", ylim=(len(shown) - 0.5, -0.5), yticks=[], title=which)
    lines.set_ylabel("clips; grey up to the end, or to the last instance where the length is not known")
    return save_figure(figure, path)

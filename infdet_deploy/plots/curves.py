"""Pictures of an evaluation: precision-recall curves and the error breakdown."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from infdet_deploy.metrics.average_precision import MeanAveragePrecision, Protocol, Ranking, iou_key
from infdet_deploy.metrics.breakdown import DETECTIONS, INSTANCES, Breakdown
from infdet_deploy.plots.figure import COLOURS, legend_below, plain, pyplot, save_figure

_KIND_COLOURS = {
    "correct": "#009e73", "duplicate": "#56b4e9", "wrong_class": "#cc79a7", "poor_localisation": "#e69f00",
    "background": "#8c8c8c", "found": "#009e73", "found_badly": "#e69f00", "missed": "#8c8c8c",
}  # fmt: skip


def draw_precision_recall(
    path: Path | str,
    rankings: Mapping[Protocol, Mapping[str, Ranking]],
    scores: Mapping[Protocol, MeanAveragePrecision],
    iou: float,
) -> Path:
    """Write a PNG with a panel for each protocol, in it a curve for each class through its ranked detections.

    rankings: at IoU `iou`, by protocol and class. ActivityNet's average precision is the area under the dashed curve.
    Raises InfdetError without matplotlib.
    """
    plt = pyplot()
    rows = max(map(len, rankings.values()))
    figure = plt.figure(figsize=(0.6 + 5.4 * len(rankings), 5.0 + 0.19 * rows), layout="constrained")
    parts = figure.subfigures(1, len(rankings), squeeze=False)[0]
    for part, (protocol, classes) in zip(parts, rankings.items(), strict=True):
        panel = part.subplots()
        for index, (label, ranking) in enumerate(classes.items()):
            colour = COLOURS[index % len(COLOURS)]
            counts = f"{len(ranking.scores)} detections, {ranking.instances} instances"
            name = f"{plain(label)}: AP {scores[protocol].ap[label][iou_key(iou)] or 0.0:.3f}, {counts}"
            panel.plot(ranking.recall, ranking.precision, "o-", markersize=3, linewidth=1.2, color=colour, label=name)
            if protocol == "activitynet":
                envelope = np.maximum.accumulate(ranking.precision[::-1])[::-1]
                envelope = np.append(envelope.max(initial=0.0), envelope)
                panel.plot(
                    np.append(0.0, ranking.recall), envelope, "--", drawstyle="steps-pre", linewidth=1.2, color=colour
                )
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xlabel="recall", ylabel="precision")
        dashed = "; dashed: what AP averages" if protocol == "activitynet" else ""
        panel.set_title(f"{protocol}, IoU {iou:g}{dashed}")
        panel.grid(color="#e6e6e6")
        legend_below(part, columns=1)
    return save_figure(figure, path)


def draw_errors(path: Path | str, errors: Breakdown) -> Path:
    """Write a PNG: for each class a bar of its detections and a bar of its instances, divided into kinds.

    Raises InfdetError without matplotlib.
    """
    plt = pyplot()
    classes = list(errors.detections)
    figure = plt.figure(figsize=(12, 2.4 + 0.55 * len(classes)), layout="constrained")
    sides = (("detections", DETECTIONS, errors.detections), ("instances", INSTANCES, errors.instances))
    for part, (what, kinds, by_class) in zip(figure.subfigures(1, 2), sides, strict=True):
        panel = part.subplots()
        counts = np.array([[by_class[label][kind] for kind in kinds] for label in classes])
        ends = counts.cumsum(axis=1)
        for index, kind in enumerate(kinds):
            starts = ends[:, index] - counts[:, index]
            name = f"{kind.replace('_', ' ')} ({counts[:, index].sum()})"
            panel.barh(range(len(classes)), counts[:, index], 0.7, starts, color=_KIND_COLOURS[kind], label=name)
            for row, (start, count) in enumerate(zip(starts, counts[:, index], strict=True)):
                if count > 0.02 * ends.max():  # a smaller bar has no room for a number
                    panel.text(start + count / 2, row, str(count), ha="center", va="center", fontsize=8)
        panel.set(yticks=range(len(classes)), yticklabels=list(map(plain, classes)), ylim=(len(classes) - 0.4, -0.6))
        panel.set_xlim(0, max(1, ends.max()))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_title(f"{counts.sum()} {what}, at IoU {errors.iou:g}")
        legend_below(part)
    return save_figure(figure, path)

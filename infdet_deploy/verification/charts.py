"""Charts of the page of `verify`."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from infdet_deploy.plots.charts import REFERENCE_COLOUR, Chart, Dot, dot_chart
from infdet_deploy.plots.figure import COLOURS, plain
from infdet_deploy.verification.bisect import Bisection
from infdet_deploy.verification.result import Verification


def _colours(found: Verification) -> dict[tuple[str, str], str]:
    """By backend and precision."""
    names = dict.fromkeys((row.backend, row.precision) for row in found.rows)
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def stage_chart(found: Verification) -> Chart:
    """The error of every stage on every clip against its tolerance."""
    colours = _colours(found)
    rows: dict[str, list[Dot]] = {}
    for row in found.stages:
        name = row.backend, row.precision
        rows.setdefault(row.stage, []).append(Dot(row.relative_l2, colours[name], " ".join(name), row.tolerance))
    return dot_chart(rows.items(), "relative L2; dotted: tolerance; ringed in red: above it")


def score_chart(found: Verification) -> Chart:
    """The scores of the longest clip, for the class whose score varies most."""
    reference, colours = found.shown_scores, _colours(found)
    column = int((reference.max(0) - reference.min(0)).argmax())

    def draw(axes: Any) -> None:
        axes.plot(reference[:, column], color=REFERENCE_COLOUR, linewidth=3, label=plain(found.against))
        for row in found.end_to_end:
            if row.scores is not None:
                name = row.backend, row.precision
                axes.plot(row.scores[:, column], "--", color=colours[name], label=" ".join(name))
        axes.set_ylim(-0.02, 1.02)
        axes.grid()

    xlabel = f"snippets of the longest clip ({found.shown_clip})"
    return Chart(draw, 2.6, xlabel, f"score of {found.bundle.classes[column]}")


def map_chart(found: Verification, reference: Mapping[str, float]) -> Chart:
    """mAP by IoU of the network, whose values are `reference`, and of every contender."""
    bars, colours = [("network", REFERENCE_COLOUR, reference)], _colours(found)
    for row in found.end_to_end:
        if row.map:
            bars.append((f"{row.backend} {row.precision}", colours[row.backend, row.precision], row.map))
    width = 0.8 / len(bars)

    def draw(axes: Any) -> None:
        for number, (label, colour, values) in enumerate(bars):
            places = [index + (number - (len(bars) - 1) / 2) * width for index in range(len(reference))]
            axes.bar(places, [values[iou] for iou in reference], 0.9 * width, color=colour, label=label)
        axes.set_xticks(range(len(reference)), list(reference))
        axes.set_ylim(0, 1)
        axes.grid(axis="y")

    return Chart(draw, 2.4, "temporal IoU", "mAP")


def module_chart(one: Bisection) -> Chart:
    """The errors of every module of a stage, in data order."""
    rows = []
    for module in one.modules:
        dots = [Dot(module.inside, "#7f7f7f", "in the stage", one.tolerance)]
        if module.alone is not None:
            dots.append(Dot(module.alone, COLOURS[0], "alone, fed the right input", hollow=True))
        rows.append((module.module.removeprefix(f"{one.stage}/"), dots))
    finite = all(isfinite(module.inside) for module in one.modules)
    return dot_chart(rows, "relative L2, modules in data order" + ("" if finite else "; not finite: at the right edge"))

"""The result of `verify` as one HTML page with inline charts."""

import platform
from collections.abc import Mapping, Sequence
from math import isfinite, isnan

from infdet_deploy import __version__
from infdet_deploy.plots.charts import COLOURS, REFERENCE_COLOUR, Dot, Svg, chart, dot_chart
from infdet_deploy.plots.page import Page, Section, Table
from infdet_deploy.system import cpu_count, processor_name
from infdet_deploy.verification.bisect import Bisection
from infdet_deploy.verification.report import (
    END_COLUMNS,
    END_NOTE,
    MODULE_COLUMNS,
    STAGE_COLUMNS,
    STAGE_NOTE,
    end_rows,
    map_table,
    module_note,
    module_rows,
    stage_rows,
)
from infdet_deploy.verification.result import Verification

Colours = Mapping[tuple[str, str], str]  # by backend and precision


def page(found: Verification) -> Page:
    """The page's content."""
    names = dict.fromkeys((row.backend, row.precision) for row in found.rows)
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    versions = f"infdet-deploy {__version__}, Python {platform.python_version()}"
    made_by = ", ".join(f"{package} {version}" for package, version in found.bundle.manifest.made_by.items())
    sections = [
        Section("Stages", _stage_chart(found, colours), _table(STAGE_COLUMNS, stage_rows(found.stages)), STAGE_NOTE),
        Section(
            "From frames to detections: " + found.clips,
            _score_chart(found, colours),
            _table(END_COLUMNS, end_rows(found.end_to_end)),
            END_NOTE,
        ),
    ]
    if any(row.reference_map for row in found.end_to_end):
        table = Table(*map_table(found.end_to_end))
        note = "In brackets: the change from the network."
        sections.append(Section("Mean average precision (THUMOS'14)", _map_chart(found, colours), table, note))
    sections += [
        Section(one.summary, _module_chart(one), _table(MODULE_COLUMNS, module_rows(one, every=True)), module_note(one))
        for one in found.bisections or ()
    ]
    return Page(
        f"verify {found.bundle.path}",
        [*sections, Section("Tolerances", table=_tolerances(found))],
        verdict=f"{'within' if found.passed else 'out of'} tolerance, compared with its {found.against}",
        passed=found.passed,
        intro=[
            f"{processor_name()}, {cpu_count()} cores; {versions}.",
            f"Bundle made by {made_by}.",
            *found.notes,
        ],
        errors=found.errors,
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose last column is the verdict; victims are not marked as failed."""
    return Table(columns, rows, [number for number, row in enumerate(rows) if row[-1] not in ("ok", "victim")])


def _stage_chart(found: Verification, colours: Colours) -> Svg:
    rows: dict[str, list[Dot]] = {}
    for row in found.stages:
        name = row.backend, row.precision
        rows.setdefault(row.stage, []).append(Dot(row.relative_l2, colours[name], " ".join(name), row.tolerance))
    return dot_chart(rows.items(), "relative L2; dotted: tolerance; ringed in red: above it")


def _score_chart(found: Verification, colours: Colours) -> Svg:
    """The scores of the longest clip, for the class whose score varies most."""
    reference = found.shown_scores
    column = int((reference.max(0) - reference.min(0)).argmax())
    xlabel = f"snippets of the longest clip ({found.shown_clip})"
    with chart(2.6, xlabel, f"score of {found.bundle.classes[column]}") as made:
        made.axes.plot(reference[:, column], color=REFERENCE_COLOUR, linewidth=3, label=found.against)
        for row in found.end_to_end:
            if row.scores is not None:
                name = row.backend, row.precision
                made.axes.plot(row.scores[:, column], "--", color=colours[name], label=" ".join(name))
        made.axes.set_ylim(-0.02, 1.02)
        made.axes.grid()
    return made.svg


def _map_chart(found: Verification, colours: Colours) -> Svg:
    rows = [row for row in found.end_to_end if row.map and row.reference_map]
    reference = next(row.reference_map for row in found.end_to_end if row.reference_map)
    bars = [("network", REFERENCE_COLOUR, reference)]
    bars += [(f"{row.backend} {row.precision}", colours[row.backend, row.precision], row.map or {}) for row in rows]
    width = 0.8 / len(bars)
    with chart(2.4, "temporal IoU", "mAP") as made:
        for number, (label, colour, values) in enumerate(bars):
            places = [index + (number - (len(bars) - 1) / 2) * width for index in range(len(reference))]
            made.axes.bar(places, [values[iou] for iou in reference], 0.9 * width, color=colour, label=label)
        made.axes.set_xticks(range(len(reference)), list(reference))
        made.axes.set_ylim(0, 1)
        made.axes.grid(axis="y")
    return made.svg


def _module_chart(one: Bisection) -> Svg:
    rows = []
    for module in one.modules:
        dots = [Dot(module.inside, "#7f7f7f", "in the stage", one.tolerance)]
        if module.alone is not None:
            dots.append(Dot(module.alone, COLOURS[0], "alone, fed the right input", hollow=True))
        rows.append((module.module.removeprefix(f"{one.stage}/"), dots))
    finite = all(isfinite(module.inside) for module in one.modules)
    return dot_chart(rows, "relative L2, modules in data order" + ("" if finite else "; not finite: at the right edge"))


def _tolerances(found: Verification) -> Table:
    allowed = found.tolerances.table()
    columns = list(next(iter(allowed.values())))
    rows = [
        [precision, *("–" if isnan(row[column]) else f"{row[column]:.0e}" for column in columns)]
        for precision, row in allowed.items()
    ]
    return Table(["precision", *(f"{c}, rel. L2" if c != "scores" else "scores, max abs" for c in columns)], rows)

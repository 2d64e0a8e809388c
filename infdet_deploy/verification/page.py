"""What `verify` found as one HTML page, with its charts inside: no script, no font, no file beside it."""

import platform
from html import escape
from math import isnan
from pathlib import Path

from infdet_deploy import __version__
from infdet_deploy.files import whole_file
from infdet_deploy.plots.charts import COLOURS, Dot, Line, bar_chart, dot_chart, line_chart
from infdet_deploy.plots.html import document, table
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


def write_page(path: Path, found: Verification) -> None:
    """Write the page, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(render(found), encoding="utf-8")


def render(found: Verification) -> str:
    """The page as HTML text."""
    colours = _colours(found)
    name, manifest = escape(str(found.bundle.path)), found.bundle.manifest
    made = ", ".join(f"{package} {version}" for package, version in manifest.get("made_by", {}).items())
    verdict = (
        '<span class="ok">within tolerance</span>' if found.passed else '<span class="bad">out of tolerance</span>'
    )
    parts = [
        f'<h1>{name}</h1><p><span class="verdict">{verdict}</span>, compared with its {found.against}</p>',
        f'<p class="note">{escape(processor_name())}, {cpu_count()} cores; infdet-deploy {__version__}, Python '
        f"{platform.python_version()}. Bundle made by {escape(made)}.</p>",
        "<h2>Stage by stage</h2>",
        _stage_chart(found, colours),
        table(STAGE_COLUMNS, stage_rows(found.stages), STAGE_NOTE),
        f"<h2>From frames to detections</h2><p>{escape(found.clips)}</p>",
        _score_chart(found, colours),
        table(END_COLUMNS, end_rows(found.end_to_end), END_NOTE),
    ]
    if any(row.reference_map for row in found.end_to_end):
        parts += ["<h2>Mean average precision (THUMOS'14)</h2>", _map_chart(found, colours)]
        parts.append(table(*map_table(found.end_to_end), "In brackets the change from the network."))
    parts += [f'<p class="bad">{escape(error)}</p>' for error in found.errors]
    parts += [f'<p class="note">{escape(note)}</p>' for note in found.notes]
    for one in found.bisections or ():
        parts += [f"<h2>{escape(one.summary)}</h2>", _module_chart(one)]
        parts.append(table(MODULE_COLUMNS, module_rows(one, every=True), module_note(one)))
    parts += ["<h2>Tolerances</h2>", _tolerances(found)]
    return document(f"verify {found.bundle.path}", parts)


def _colours(found: Verification) -> dict[tuple[str, str], str]:
    names = dict.fromkeys((row.backend, row.precision) for row in found.rows)
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def _legend(colours: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    return [(" ".join(name), colour) for name, colour in colours.items()]


def _stage_chart(found: Verification, colours: dict[tuple[str, str], str]) -> str:
    rows = []
    for stage in dict.fromkeys(row.stage for row in found.stages):
        dots = [
            Dot(
                stage, row.relative_l2, row.tolerance, colours[row.backend, row.precision],
                f"{row.backend} {row.precision}, {row.frames} frames: {row.relative_l2:.2e}",
            )
            for row in found.stages
            if row.stage == stage
        ]  # fmt: skip
        rows.append((stage, dots))
    return dot_chart(rows, _legend(colours), "relative L2; dashed: tolerance; ringed in red: over it")


def _score_chart(found: Verification, colours: dict[tuple[str, str], str]) -> str:
    """The scores of the longest clip, of the class that moves most; the network's solid below, the others dashed."""
    reference = found.shown_scores
    column = int((reference.max(0) - reference.min(0)).argmax())
    lines = [Line(reference[:, column].tolist(), "#bbb")]
    for row in found.end_to_end:
        if row.scores is not None:
            lines.append(Line(row.scores[:, column].tolist(), colours[row.backend, row.precision], dashed=True))
    axis = f"score of {found.bundle.classes[column]} over the snippets of the longest clip ({found.shown_clip})"
    return line_chart(lines, [(found.against, "#bbb"), *_legend(colours)], axis)


def _map_chart(found: Verification, colours: dict[tuple[str, str], str]) -> str:
    rows = [row for row in found.end_to_end if row.map and row.reference_map]
    reference = next(row.reference_map for row in found.end_to_end if row.reference_map)
    legend = [("network", "#bbb"), *((f"{r.backend} {r.precision}", colours[r.backend, r.precision]) for r in rows)]
    groups = [(f"IoU {iou}", [value, *((row.map or {})[iou] for row in rows)]) for iou, value in reference.items()]
    return bar_chart(groups, legend, "mAP")


def _module_chart(one: Bisection) -> str:
    rows = []
    for module in one.modules:
        where = f"{module.module}: {module.inside:.2e} in the stage"
        dots = [Dot(module.module, module.inside, one.tolerance, "#555555", where)]
        if module.alone is not None:
            alone = f"{module.module}: {module.alone:.2e} alone"
            dots.append(Dot(module.module, module.alone, None, COLOURS[0], alone, hollow=True))
        rows.append((module.module.removeprefix(f"{one.stage}/"), dots))
    legend = [("in the stage", "#555555"), ("alone, fed the right input", COLOURS[0])]
    return dot_chart(rows, legend, "relative L2, modules in data order; not finite: at the right edge")


def _tolerances(found: Verification) -> str:
    allowed = found.tolerances.table()
    columns = list(next(iter(allowed.values())))
    rows = [
        [precision, *("–" if isnan(row[column]) else f"{row[column]:.0e}" for column in columns)]
        for precision, row in allowed.items()
    ]
    heads = ["precision", *(f"{c}, rel. L2" if c != "scores" else "scores, max abs" for c in columns)]
    return table(heads, rows, "")

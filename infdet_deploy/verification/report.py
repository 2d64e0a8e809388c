"""A verification as tables of text, for the terminal, and as an HTML page."""

import platform
from collections.abc import Sequence
from math import isfinite, isnan

from infdet_deploy import __version__
from infdet_deploy.plots.charts import Chart
from infdet_deploy.plots.page import Page, Section
from infdet_deploy.system import cpu_count, processor_name
from infdet_deploy.verification.bisect import Bisection
from infdet_deploy.verification.charts import map_chart, module_chart, score_chart, stage_chart
from infdet_deploy.verification.end_to_end import EndToEnd
from infdet_deploy.verification.result import Verification
from infdet_deploy.verification.stages import StageParity

VICTIMS_SHOWN = 3  # after each culprit, on the terminal


def sections(found: Verification, every: bool = False) -> list[Section]:
    """Stages, clips from frames to detections, mAP of annotated clips, then every bisection.

    every: all victims of a bisection, not only the first few after each culprit.
    """
    tables = [
        _section(
            f"{found.bundle.path} against its {found.against}, stage by stage",
            ["stage", "backend", "precision", "max abs", "rel. L2", "cosine", "SNR dB", "NaN/Inf", "verdict"],
            stage_rows(found.stages),
            "The worst clip; every stage is fed the network's own input. – dB: no error.",
            stage_chart(found),
        ),
        _section(
            f"From frames to detections ({found.clips})",
            [
                *("backend", "precision", "clips", "max abs", "rel. L2", "SNR dB", "NaN/Inf"),
                *("matched", "missed", "extra", "shift (frames)", "score shift", "verdict"),
            ],
            [_end_row(row) for row in found.end_to_end],
            "Errors refer to scores. Detections are compared with the network's; shifts are the largest.",
            score_chart(found),
        ),
    ]
    if reference := found.reference_map:
        rows = [["network", *(f"{value:.3f}" for value in reference.values())]]
        for row in found.end_to_end:
            if row.map and row.map_change:
                cells = [f"{row.map[iou]:.3f} ({row.map_change[iou]:+.3f})" for iou in reference]
                rows.append([f"{row.backend} {row.precision}", *cells])
        columns = ["", *(f"IoU {iou}" for iou in reference)]
        note, chart = "In brackets: the change from the network.", map_chart(found, reference)
        tables.append(Section("mAP (THUMOS'14)", columns, rows, note, chart=chart))
    for one in found.bisections or ():
        victims = sum(module.verdict == "victim" for module in one.modules)
        note = f"Relative L2 as the stage runs, and fed the reference's own input. {victims} victims in all."
        columns = ["module", "in the stage", "alone", "NaN/Inf", "verdict"]
        tables.append(_section(one.summary, columns, module_rows(one, every), note, module_chart(one)))
    return tables


def page(found: Verification) -> Page:
    """The page, with charts."""
    versions = f"infdet-deploy {__version__}, Python {platform.python_version()}"
    made_by = ", ".join(f"{package} {version}" for package, version in found.bundle.manifest.made_by.items())
    return Page(
        f"verify {found.bundle.path}",
        [*sections(found, every=True), _tolerances(found)],
        verdict=f"{'within' if found.passed else 'out of'} tolerance, compared with its {found.against}",
        passed=found.passed,
        intro=[
            f"{processor_name()}, {cpu_count()} cores; {versions}.",
            f"Bundle made by {made_by}.",
            *found.notes,
        ],
        errors=found.errors,
    )


def _tolerances(found: Verification) -> Section:
    allowed = found.tolerances.table()
    columns = list(next(iter(allowed.values())))
    rows = [
        [precision, *("–" if isnan(row[column]) else f"{row[column]:.0e}" for column in columns)]
        for precision, row in allowed.items()
    ]
    labels = [f"{name}, rel. L2" if name != "scores" else "scores, max abs" for name in columns]
    return Section("Tolerances", ["precision", *labels], rows)


def _section(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str, chart: Chart) -> Section:
    """A table whose last column is the verdict; victims are not marked as failed."""
    failed = [number for number, row in enumerate(rows) if row[-1] not in ("ok", "victim")]
    return Section(heading, columns, rows, note, failed, chart)


def stage_rows(rows: Sequence[StageParity]) -> list[list[str]]:
    """A row of text for each stage, backend and precision: the worst figures over the clips."""
    groups: dict[tuple[str, str, str], list[StageParity]] = {}
    for row in rows:
        groups.setdefault((row.stage, row.backend, row.precision), []).append(row)
    found = []
    for names, clips in groups.items():
        of = [clip for clip in clips if not clip.passed] or clips
        found.append(
            [
                *names,
                f"{max(clip.max_abs for clip in of):.1e}",
                f"{max(clip.relative_l2 for clip in of):.1e}",
                f"{min(clip.cosine for clip in of):.7f}",
                _decibels(min(clip.snr_db for clip in of)),
                str(max(clip.nonfinite for clip in of)),
                _verdict(of[0]),
            ]
        )
    return found


def _verdict(row: StageParity | EndToEnd) -> str:
    """`ok`, or the fault in a few words."""
    if row.passed:
        return "ok"
    if row.error:
        return "cannot run"
    return "not finite" if row.nonfinite else f"over {row.tolerance:.0e}"


def _end_row(row: EndToEnd) -> list[str]:
    shifts = ("–", "–") if row.error else (f"{row.boundary_shift_frames:.1f}", f"{row.score_shift:.1e}")
    return [
        *(row.backend, row.precision, str(row.clips), f"{row.max_abs:.1e}", f"{row.relative_l2:.1e}"),
        *(_decibels(row.snr_db), str(row.nonfinite), str(row.matched), str(row.missed), str(row.extra)),
        *(*shifts, _verdict(row)),
    ]


def module_rows(one: Bisection, every: bool = False) -> list[list[str]]:
    """A row of text for each module that is not ok, in data order, and for the module before the first of them."""
    found: list[list[str]] = []
    left = VICTIMS_SHOWN
    for index, module in enumerate(one.modules):
        following = one.modules[index + 1].module if index + 1 < len(one.modules) else None
        if module.verdict == "ok" and following != one.first:
            continue
        if module.verdict == "victim" and not every:
            left -= 1
            if left < 0:
                continue
        if module.verdict == "culprit":
            left = VICTIMS_SHOWN
        alone = "–" if module.alone is None else f"{module.alone:.1e}"
        found.append([module.module, f"{module.inside:.1e}", alone, str(module.nonfinite), module.verdict])
    return found


def _decibels(value: float) -> str:
    return f"{value:.0f}" if isfinite(value) else "–"

"""The report of `bench` as tables of text, for the terminal, report.md and report.html with its charts."""

from dataclasses import replace
from math import isfinite
from pathlib import Path

from infdet_deploy.benchmarks.charts import (
    STAGE_LABELS,
    Measured,
    accuracy_chart,
    latency_chart,
    roofline_chart,
    stage_chart,
)
from infdet_deploy.benchmarks.comparison import RULE, Comparison
from infdet_deploy.benchmarks.report import PAPER_DEVICE, BenchReport
from infdet_deploy.benchmarks.steps import StepTimes
from infdet_deploy.console import finite
from infdet_deploy.files import whole_file, write_json
from infdet_deploy.plots.page import Page, Section, write_page

NONE = "–"


def tables(report: BenchReport) -> list[Section]:
    """All tables of a report, each at most 120 characters wide, with their notes."""
    measured, sections = report.measured, []
    if measured:
        sections = [_speed(report, measured), _stages(report, measured), _cost(report, measured)]
    if report.steps:
        sections.append(_steps(report.steps))
    if report.comparison:
        sections.append(_comparison(report.comparison))
    return sections


def headline(report: BenchReport) -> str:
    """What was measured, and where."""
    return f"{report.bundle}: {report.frames} frames, {report.runs} runs, {report.device}, {report.cores} cores"


def remarks(report: BenchReport) -> list[str]:
    """What the figures mean, a line each."""
    lines = ["Real time: 25 frames/s."]
    if report.paper_frames_per_s:
        lines[0] = f"The paper's figure: {report.paper_frames_per_s:.0f} frames/s on {PAPER_DEVICE}. {lines[0]}"
    if report.peaks and report.peaks.bytes_per_s:
        rates = [
            f"{precision} {f'{rate / 1e9:.0f} G/s' if rate else 'not measured'}"
            for precision, rate in report.peaks.multiply_adds_per_s.items()
        ]
        bandwidth = report.peaks.bytes_per_s / 1e9
        lines.append(f"This machine's peaks, multiply-adds: {', '.join(rates)}; copying {bandwidth:.1f} GB/s.")
    if report.work is not None:
        exported = sum(work.multiply_adds for work in report.work.values()) / 1e9
        original = sum(work.multiply_adds_original for work in report.work.values()) / 1e9
        lines.append(
            f"Floor: from {exported:.4g} G multiply-adds of the exported graph (original network: {original:.4g} G)."
        )
    else:
        lines.append(_sentence(report.roofline_note))
    if report.energy_note:
        lines.append(f"Energy: {report.energy_note}.")
    return lines


def markdown(report: BenchReport) -> str:
    """The report as Markdown."""
    parts = [f"# {headline(report)}", f"Measured {report.made} with {_versions(report)}.", "\n".join(remarks(report))]
    for section in tables(report):
        head = ["| " + " | ".join(section.columns) + " |", "|---" + "|---:" * (len(section.columns) - 1) + "|"]
        lines = ["| " + " | ".join(row) + " |" for row in section.rows]
        parts += [f"## {section.heading}", "\n".join(head + lines), section.note]
    return "\n\n".join([*parts, *(f"- {error}" for error in report.failures)]) + "\n"


def write_report(folder: Path, report: BenchReport) -> None:
    """Write the three files, each atomically; create the folder if it is missing."""
    write_json(folder / "report.json", finite(report.to_dict()))
    with whole_file(folder / "report.md") as temporary:
        temporary.write_text(markdown(report), encoding="utf-8")
    write_page(folder / "report.html", page(report))


def page(report: BenchReport) -> Page:
    """The content of report.html."""
    measured, sections = report.measured, tables(report)
    if measured:
        sections[0] = replace(sections[0], heading="Latency")  # the page begins with the headline
    if report.peaks and any(figures.roofline for _, figures in measured):
        note = f"A mark for each stage of each contender; {report.roofline_note}. Lines: the machine's measured limits."
        sections.append(Section("Roofline", note=note, chart=roofline_chart(measured, report.peaks)))
    return Page(
        f"bench {report.bundle}",
        sections,
        intro=[f"{headline(report)}.", f"{report.made}; {_versions(report)}.", *remarks(report)],
        errors=report.failures,
    )


def _speed(report: BenchReport, measured: Measured) -> Section:
    columns = ["contender", "frames/s", "median", "95 % interval", "spread", "p90", "p99", "real time", "cameras"]
    compared = any(figures.against_eager for _, figures in measured)
    paper = any(figures.device for _, figures in measured)
    columns += ["× eager"] * compared + ["paper's way"] * paper
    rows = []
    for row, figures in measured:
        ms = figures.latency_ms
        times = f"{figures.against_eager:.2f}×" if figures.against_eager else NONE
        rate = _short(figures.device["paper_frames_per_s"]) if figures.device else NONE
        rows.append(
            [
                row.contender, _short(figures.frames_per_s["median"]), _short(ms.median),
                f"{_short(ms.low)}–{_short(ms.high)}", f"{100 * ms.spread:.1f} %", _short(ms.p90), _short(ms.p99),
                f"{figures.real_time_factor:.1f}×", str(figures.cameras), *[times] * compared, *[rate] * paper,
            ]
        )  # fmt: skip
    note = [
        "Milliseconds from uint8 frames in memory to detections.",
        "Spread: half the interquartile range, divided by the median.",
    ]
    if paper:
        note.append("Paper's way: frames/s of consecutive runs of a clip on the GPU, scores not fetched.")
    if any(figures.clips_at_once > 1 for _, figures in measured):
        clips = ", ".join(f"{row.contender} {figures.clips_at_once}" for row, figures in measured)
        note.append(f"Milliseconds are for all concurrent clips: {clips}.")
    coverage = min(figures.latency_ms.coverage for _, figures in measured)
    if coverage < 0.95:
        note.append(f"With {report.runs} runs the interval covers the median with {100 * coverage:.0f} % probability.")
    return Section(headline(report), columns, rows, "\n".join(note), chart=latency_chart(measured))


def _stages(report: BenchReport, measured: Measured) -> Section:
    names = [name for name in STAGE_LABELS if name in measured[0][1].stages_ms]
    before, note, ahead = report.preparation, "Medians, ms.", [NONE, NONE]
    if before:
        ahead = [_short(before.decode_ms), _short(before.preprocess_ms)]
        note += (
            f" Decode ({before.width}×{before.height}, {before.codec}) and preprocess happen before the clip is in "
            "memory;\nframes/s does not include them."
        )
    rows = [[row.contender, *ahead, *(_short(figures.stages_ms[name]) for name in names)] for row, figures in measured]
    columns = ["contender", "decode", "preprocess", *(STAGE_LABELS[name] for name in names)]
    return Section("Stages", columns, rows, note, chart=stage_chart(measured, report.preparation))


def _cost(report: BenchReport, measured: Measured) -> Section:
    columns = [
        "contender", "features", "scores", "detections", "start s", "again s", "peak MB", "of floor", "towers",
        "J/frame",
    ]  # fmt: skip
    rows = []
    for row, figures in measured:
        exact, floor, again = figures.accuracy, figures.roofline, figures.second_start
        compared = [NONE] * 3
        if exact and row.contender != report.reference:
            compared = [
                NONE if exact.features_relative_l2 is None else _error(exact.features_relative_l2),
                _error(exact.score_max_abs),
                f"{exact.matched}/{exact.missed}/{exact.extra}",
            ]
        rows.append(
            [
                row.contender,
                *compared,
                f"{figures.start.first_result_s:.2f}",
                f"{again.first_result_s:.2f}" if again else NONE,
                f"{figures.peak_memory_mb:.0f}",
                f"{100 * floor.fraction:.0f} %" if floor else NONE,
                f"{100 * floor.towers_fraction:.0f} %" if floor else NONE,
                NONE if figures.joules_per_frame is None else f"{figures.joules_per_frame:.3g}",
            ]
        )
    note = (
        "Features (relative L2), scores (largest difference), detections (matched/missed/extra): compared with "
        f"{report.reference}.\n"
        "Start: from the bundle on disk to the first result; again: with the compiled stages in the cache.\n"
        "Of floor: the least time for work and bytes at this machine's peaks, divided by the median."
    )
    chart = accuracy_chart(measured) if any(figures.accuracy for _, figures in measured) else None
    return Section("Accuracy, start, memory, floor, energy", columns, rows, note, chart=chart)


def _steps(steps: list[StepTimes]) -> Section:
    columns = ["contender", "frames", "step", "p99", "frame", "offline", "cost", "CPU", "state MB", "delay"]
    rows = [
        [
            one.contender, str(one.step_frames), f"{one.step_ms.median:.1f}", f"{one.step_ms.p99:.1f}",
            f"{one.frame_ms.median:.2f}", f"{one.offline_frame_ms.median:.2f}", f"{one.cost:.2f}",
            f"{one.processor_cost:.2f}", f"{one.state_mb:.1f}", str(one.delay_frames),
        ]
        for one in steps
    ]  # fmt: skip
    note = (
        "Milliseconds from uint8 frames to features. Cost: time per frame in steps ÷ time per frame offline, medians.\n"
        "CPU: the same ratio of processor time, which other programs affect less; meaningless on a GPU.\n"
        "Delay: frames from the last frame of a feature's input until the feature is computed, plus at most one step."
    )
    return Section("In steps", columns, rows, note)


def _comparison(found: Comparison) -> Section:
    rows = []
    for row in found.rows:
        verdict = ("slower" if row.change > 0 else "faster") if row.more_than_noise else "noise"
        interval = f"{100 * row.low:+.1f} … {100 * row.high:+.1f} %"
        rows.append(
            [row.contender, _short(row.old_ms), _short(row.new_ms), f"{100 * row.change:+.1f} %", interval, verdict]
        )
    notes = [_sentence(RULE), *(f"Warning: {warning}." for warning in found.warnings)]
    notes += [f"Only in the old report: {', '.join(found.only_old)}."] if found.only_old else []
    notes += [f"Only in the new report: {', '.join(found.only_new)}."] if found.only_new else []
    columns = ["contender", "old ms", "new ms", "change", "interval", "result"]
    return Section(f"Compared with the report of {found.made}", columns, rows, "\n".join(notes))


def _versions(report: BenchReport) -> str:
    return ", ".join(f"{package} {version}" for package, version in report.versions.items())


def _short(value: float) -> str:
    """A figure with at least three significant digits."""
    if not isfinite(value):
        return NONE
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _error(value: float) -> str:
    return f"{value:.1e}" if isfinite(value) else "not finite"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."

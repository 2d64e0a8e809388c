"""The report of `bench` as tables of text, for the terminal, report.md and report.html."""

from collections.abc import Callable
from math import isfinite
from typing import TypeVar

from infdet_deploy.benchmarks.comparison import RULE, Comparison
from infdet_deploy.benchmarks.report import PAPER_DEVICE, BenchReport, ContenderReport, Figures
from infdet_deploy.benchmarks.steps import StepTimes
from infdet_deploy.plots.page import Section, Table

STAGE_LABELS = {
    "fen": "fen", "infrared_tower": "infrared", "flow_tower": "flow", "head": "head", "detections": "detections",
}  # fmt: skip
NONE = "–"
Measured = list[tuple[ContenderReport, Figures]]
_T = TypeVar("_T")


def tables(report: BenchReport) -> list[Section]:
    """All tables of a report, each at most 120 characters wide, with their notes."""
    measured, sections = report.measured, []
    if measured:
        sections += [_speed(report, measured), _stages(report, measured), _cost(report, measured)]
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


def versions(report: BenchReport) -> str:
    return ", ".join(f"{package} {version}" for package, version in report.versions.items())


def markdown(report: BenchReport) -> str:
    """The report as Markdown."""
    parts = [f"# {headline(report)}", f"Measured {report.made} with {versions(report)}.", "\n".join(remarks(report))]
    for section in tables(report):
        assert section.table is not None
        columns = section.table.columns
        head = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
        lines = ["| " + " | ".join(row) + " |" for row in section.table.rows]
        parts += [f"## {section.heading}", "\n".join(head + lines), section.note]
    return "\n\n".join([*parts, *(f"- {error}" for error in report.failures)]) + "\n"


def _speed(report: BenchReport, measured: Measured) -> Section:
    columns = ["contender", "frames/s", "median", "95 % interval", "spread", "p90", "p99", "real time", "cameras"]
    compared = any(figures.against_eager for _, figures in measured)
    paper = any(figures.device for _, figures in measured)
    columns += ["× eager"] * compared + ["paper's way"] * paper
    rows = []
    for row, figures in measured:
        ms, times = figures.latency_ms, _or_none(figures.against_eager, lambda v: f"{v:.2f}×")
        rate = _or_none(figures.device, lambda device: _short(device["paper_frames_per_s"]))
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
        note.append(f"Concurrent clips, which the milliseconds are for: {clips}.")
    coverage = min(figures.latency_ms.coverage for _, figures in measured)
    if coverage < 0.95:
        note.append(f"With only {report.runs} runs the interval covers the median with {100 * coverage:.0f} %.")
    return Section(headline(report), table=Table(columns, rows), note="\n".join(note))


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
    return Section("Stages", table=Table(columns, rows), note=note)


def _cost(report: BenchReport, measured: Measured) -> Section:
    columns = [
        "contender", "features", "scores", "detections", "start s", "again s", "peak MB", "of floor", "towers",
        "J/frame",
    ]  # fmt: skip
    rows = []
    for row, figures in measured:
        exact, floor = figures.accuracy, figures.roofline
        compared = [NONE] * 3
        if exact and row.contender != report.reference:
            compared = [
                _or_none(exact.features_relative_l2, _error),
                _error(exact.score_max_abs),
                f"{exact.matched}/{exact.missed}/{exact.extra}",
            ]
        rows.append(
            [
                row.contender,
                *compared,
                f"{figures.start.first_result_s:.2f}",
                _or_none(figures.second_start, lambda start: f"{start.first_result_s:.2f}"),
                f"{figures.peak_memory_mb:.0f}",
                _or_none(floor, lambda f: f"{100 * f.fraction:.0f} %"),
                _or_none(floor, lambda f: f"{100 * f.towers_fraction:.0f} %"),
                _or_none(figures.joules_per_frame, lambda j: f"{j:.3g}"),
            ]
        )
    note = (
        "Features (relative L2), scores (largest difference), detections (matched/missed/extra): compared with "
        f"{report.reference}.\n"
        "Start: from the bundle on disk to the first result; again: with the compiled stages in the cache.\n"
        "Of floor: the least time for work and bytes at this machine's peaks, divided by the median."
    )
    return Section("Accuracy, start, memory, floor, energy", table=Table(columns, rows), note=note)


def _steps(steps: list[StepTimes]) -> Section:
    columns = ["contender", "frames", "step", "p99", "a frame", "offline", "cost", "CPU", "state MB", "delay"]
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
    return Section("In steps", table=Table(columns, rows), note=note)


def _comparison(found: Comparison) -> Section:
    rows = []
    for row in found.rows:
        verdict = ("slower" if row.change > 0 else "faster") if row.more_than_noise else "noise"
        interval = f"{100 * row.low:+.1f} … {100 * row.high:+.1f} %"
        rows.append(
            [row.contender, _short(row.old_ms), _short(row.new_ms), f"{100 * row.change:+.1f} %", interval, verdict]
        )
    notes = [_sentence(RULE), *(f"Warning: {warning}." for warning in found.warnings)]
    notes += [f"Only then: {', '.join(found.only_old)}."] if found.only_old else []
    notes += [f"Only now: {', '.join(found.only_new)}."] if found.only_new else []
    columns = ["contender", "then ms", "now ms", "change", "interval", "result"]
    return Section(f"Compared with the report of {found.made}", table=Table(columns, rows), note="\n".join(notes))


def _short(value: float) -> str:
    """A figure with at least three significant digits."""
    if not isfinite(value):
        return NONE
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _error(value: float) -> str:
    return f"{value:.1e}" if isfinite(value) else "not finite"


def _or_none(value: _T | None, text: Callable[[_T], str]) -> str:
    return NONE if value is None else text(value)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."

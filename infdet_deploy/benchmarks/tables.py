"""The report of `bench` as rows of text, which the terminal, report.md and report.html share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from infdet_deploy.benchmarks import steps

STAGE_LABELS = {
    "fen": "fen", "infrared_tower": "infrared", "flow_tower": "flow", "head": "head", "detections": "detections",
}  # fmt: skip
NONE = "–"


@dataclass(frozen=True)
class Table:
    """title above, note below; a cell without a figure is –."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def tables(report: Mapping[str, Any]) -> list[Table]:
    """All tables of a report, each at most 120 characters wide."""
    good = [row for row in report["contenders"] if not row["error"]]
    found = []
    if good:
        found = [_speed(report, good), _stages(report, good), _cost(report, good)]
    if report.get("steps"):
        found.append(Table("In steps", steps.COLUMNS, [steps.row(one) for one in report["steps"]], steps.NOTE))
    if any(row.get("device") for row in good):
        found.append(_devices([row for row in good if row["device"]], report["runs"]))
    if report.get("rewrites"):
        found.append(_rewrites(report["rewrites"]))
    if report.get("comparison"):
        found.append(_comparison(report["comparison"]))
    return found


def headline(report: Mapping[str, Any]) -> str:
    """What was measured, on what."""
    return (
        f"{report['bundle']}: {report['frames']} frames, {report['runs']} runs, {report['device']}, "
        f"{report['cores']} cores"
    )


def remarks(report: Mapping[str, Any]) -> list[str]:
    """What the figures mean, a line each."""
    paper, roof = report["paper"], report["roofline"]
    lines = [f"The paper's figure: {paper['frames_per_s']:.0f} frames/s on {paper['device']}. Real time: 25 frames/s."]
    rates = roof["multiply_adds_per_s"]
    if rates and roof["bytes_per_s"]:
        peaks = ", ".join(f"{name} {_giga(rate)}" for name, rate in rates.items())
        lines.append(f"This machine's peaks, multiply-adds: {peaks}; copying {roof['bytes_per_s'] / 1e9:.1f} GB/s.")
    if roof["work"] is not None:
        lines.append(
            f"Floor: from {roof['multiply_adds'] / 1e9:.4g} G multiply-adds of the exported graph (the original "
            f"network: {roof['multiply_adds_original'] / 1e9:.4g} G)."
        )
    else:
        lines.append(f"{roof['note'][0].upper()}{roof['note'][1:]}.")
    if report["energy_note"]:
        lines.append(f"Energy: {report['energy_note']}.")
    return lines


def _giga(rate: float | None) -> str:
    return f"{rate / 1e9:.0f} G/s" if rate else "not measured"


def _speed(report: Mapping[str, Any], rows: list[dict[str, Any]]) -> Table:
    columns = [
        "contender",
        "frames/s",
        "median",
        "95 % interval",
        "spread",
        "p90",
        "p99",
        "real time",
        "cameras",
    ]
    compared = any(row["against_eager"] for row in rows)
    body = []
    for row in rows:
        ms = row["latency_ms"]
        cells = [
            row["contender"], _short(row["frames_per_s"]["median"]), _short(ms["median"]),
            f"{_short(ms['low'])}–{_short(ms['high'])}", f"{100 * ms['spread']:.1f} %",
            *(_short(ms[key]) for key in ("p90", "p99")), f"{row['real_time_factor']:.1f}×", str(row["cameras"]),
        ]  # fmt: skip
        body.append([*cells, *([_or_none(row["against_eager"], lambda v: f"{v:.2f}×")] if compared else [])])
    note = (
        "Milliseconds from uint8 frames in memory to detections.\n"
        "Spread: half the quartiles' distance, over the median."
    )
    if any(row["clips_at_once"] > 1 for row in rows):
        note += "\nClips at once, which the milliseconds are of: " + ", ".join(
            f"{row['contender']} {row['clips_at_once']}" for row in rows
        )
    coverage = min(row["latency_ms"]["coverage"] for row in rows)
    if coverage < 0.95:
        note += f"\n{report['runs']} runs are few: the interval covers the median with {100 * coverage:.0f} % only."
    return Table(headline(report), [*columns, *(["× eager"] if compared else [])], body, note)


def _stages(report: Mapping[str, Any], rows: list[dict[str, Any]]) -> Table:
    names = [name for name in STAGE_LABELS if name in rows[0]["stages_ms"]]
    before = report["preparation"]
    ahead = [_short(before[key]) for key in ("decode_ms", "preprocess_ms")] if before else [NONE, NONE]
    body = [[row["contender"], *ahead, *(_short(row["stages_ms"][name]) for name in names)] for row in rows]
    note = "Medians, ms."
    if before:
        note += (
            f" Decode ({before['width']}×{before['height']}, {before['codec']}) and preprocess come before the clip is "
            "in memory:\nthey are not in frames/s."
        )
    columns = ["contender", "decode", "preprocess", *(STAGE_LABELS[name] for name in names)]
    return Table("Stage by stage", columns, body, note)


def _cost(report: Mapping[str, Any], rows: list[dict[str, Any]]) -> Table:
    columns = [
        "contender", "features", "scores", "detections", "start s", "again s", "peak MB", "of floor", "towers",
        "J/frame",
    ]  # fmt: skip
    body = []
    for row in rows:
        exact, roof = row["accuracy"], row["roofline"]
        itself = row["contender"] == report["reference"]
        body.append(
            [
                row["contender"],
                NONE if itself or not exact else _or_none(exact["features_relative_l2"], _error),
                NONE if itself or not exact else _error(exact["score_max_abs"]),
                NONE if itself or not exact else f"{exact['matched']}/{exact['missed']}/{exact['extra']}",
                f"{row['start']['first_result_s']:.2f}",
                _or_none(row["second_start"], lambda start: f"{start['first_result_s']:.2f}"),
                f"{row['peak_memory_mb']:.0f}",
                _or_none(roof, lambda r: f"{100 * r['fraction']:.0f} %"),
                _or_none(roof, lambda r: f"{100 * r['towers_fraction']:.0f} %"),
                _or_none(row["joules_per_frame"], lambda j: f"{j:.3g}"),
            ]
        )
    note = (
        "Features (relative L2), scores (largest difference), detections (matched/missed/extra): against "
        f"{report['reference']}.\n"
        "Start: from the bundle on disk to the first result; again: with the stages that the first start compiled.\n"
        "Of floor: the least time for work and bytes at this machine's peaks ÷ median."
    )
    return Table("Accuracy, start, memory, floor, energy", columns, body, note)


def _devices(rows: list[dict[str, Any]], runs: int) -> Table:
    keys = ("upload_ms", "network_ms", "download_ms", "paper_frames_per_s", "sm_mhz", "memory_mhz", "watts", "celsius")
    body = [[row["contender"], *(_short(row["device"].get(key, nan)) for key in keys)] for row in rows]
    note = (
        "Medians by the GPU's own events, the transfer of frames and scores apart; clocks, power, temperature at\n"
        f"the end of a run (NVML). Paper's way: frames/s of {runs} runs in a row, the clip on the GPU, nothing fetched."
    )
    columns = [
        "contender", "upload ms", "network ms", "download ms", "paper's way", "SM MHz", "memory MHz", "W", "°C",
    ]  # fmt: skip
    return Table("On the GPU", columns, body, note)


def _rewrites(rows: list[dict[str, Any]]) -> Table:
    columns = [
        "rewrite", "stage", "precision", "exported ms", "undone ms", "ratio", "interval", "CPU", "multiply-adds", "L2",
    ]  # fmt: skip
    body = [
        [
            row["rewrite"], STAGE_LABELS[row["stage"]], row["precision"], _short(row["exported_ms"]),
            _short(row["undone_ms"]), f"{row['ratio']:.3f}", f"{row['low']:.3f}–{row['high']:.3f}",
            f"{row['cpu_ratio']:.3f}", f"{row['multiply_adds_undone'] / row['multiply_adds']:.3f}",
            _error(row["relative_l2"]),
        ]
        for row in rows
    ]  # fmt: skip
    coverage = min(row["coverage"] for row in rows)
    note = (
        "Each stage as it is exported and with one rewrite undone, on OpenVINO, in turn in every round.\n"
        f"Ratio: undone ÷ exported, the median over the rounds, with its {100 * coverage:.0f} % interval; CPU: the\n"
        "same of CPU seconds, which other programs change little; multiply-adds: of the graphs.\n"
        "L2: how far the two outputs differ, relative."
    )
    return Table("Rewrites", columns, body, note)


def _comparison(found: Mapping[str, Any]) -> Table:
    body = [
        [
            row["contender"],
            _short(row["old_ms"]),
            _short(row["new_ms"]),
            f"{100 * row['change']:+.1f} %",
            f"{100 * row['low']:+.1f} … {100 * row['high']:+.1f} %",
            ("slower" if row["change"] > 0 else "faster") if row["more_than_noise"] else "noise",
        ]
        for row in found["rows"]
    ]
    notes = [f"{found['rule'][0].upper()}{found['rule'][1:]}."]
    notes += [f"Warning: {warning}." for warning in found["warnings"]]
    for key, when in (("only_old", "then"), ("only_new", "now")):
        if found[key]:
            notes.append(f"Only {when}: {', '.join(found[key])}.")
    columns = ["contender", "then ms", "now ms", "change", "interval", "result"]
    return Table(f"Beside the report of {found['made']}", columns, body, "\n".join(notes))


def _short(value: float) -> str:
    """A figure with at least three digits that count."""
    if not isfinite(value):
        return NONE
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _error(value: float) -> str:
    return f"{value:.1e}" if isfinite(value) else "not finite"


def _or_none(value: Any, text: Callable[[Any], str]) -> str:
    return NONE if value is None else text(value)


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = [
        f"# {headline(report)}",
        f"Measured {report['made']} with " + _versions(report) + ".",
        "\n".join(remarks(report)),
    ]
    for table in tables(report):
        head = ["| " + " | ".join(table.columns) + " |", "|---" + "|---:" * (len(table.columns) - 1) + "|"]
        lines = ["| " + " | ".join(row) + " |" for row in table.rows]
        parts += [f"## {table.title}", "\n".join(head + lines), table.note]
    parts += [f"- {row['error']}" for row in report["contenders"] if row["error"]]
    return "\n\n".join(parts) + "\n"


def _versions(report: Mapping[str, Any]) -> str:
    return ", ".join(f"{package} {version}" for package, version in report["versions"].items())

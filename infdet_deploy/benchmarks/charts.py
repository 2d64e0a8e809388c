"""Charts of `bench`: every run's latency, the stages of a run, speed against accuracy, the roofline."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10, nan
from typing import Any

from infdet_deploy.benchmarks.report import DEVICE_STEPS
from infdet_deploy.benchmarks.tables import STAGE_LABELS
from infdet_deploy.plots.charts import COLOURS, WIDTH, segment, svg, text

_LEFT, _RIGHT, _TOP, _ROW = 190, 30, 24, 26
_HEIGHT = 260  # of charts with two axes of numbers
Colours = Mapping[str, str]  # by contender
Row = Mapping[str, Any]


def latency_chart(rows: Sequence[Row], colours: Colours) -> str:
    """A mark for every run on a logarithmic axis, a line at the median, a bar over its interval."""
    x, parts, bottom = _scale([time for row in rows for time in row["runs_ms"]], len(rows))
    for index, row in enumerate(rows):
        y, colour, ms = _TOP + _ROW * (index + 0.5), colours[row["contender"]], row["latency_ms"]
        parts.append(text(_LEFT - 8, y + 4, row["contender"], "end"))
        parts.append(
            f'<rect x="{x(ms["low"]):.1f}" y="{y - 10:.1f}" width="{max(x(ms["high"]) - x(ms["low"]), 1):.1f}" '
            f'height="20" fill="{colour}" opacity="0.25"><title>95 % interval of the median</title></rect>'
        )
        for number, time in enumerate(row["runs_ms"]):
            place = y + (number * 7 % 5 - 2) * 2  # beside each other where they are many
            parts.append(
                f'<circle cx="{x(time):.1f}" cy="{place:.1f}" r="2.5" fill="{colour}" opacity="0.6">'
                f"<title>{escape(row['contender'])}, run {number + 1}: {time:.4g} ms</title></circle>"
            )
        parts.append(segment(x(ms["median"]), y - 11, x(ms["median"]), y + 11, "#222", 'stroke-width="2"'))
    parts.append(text((_LEFT + WIDTH) / 2, bottom + 32, "ms a clip; line and band: median, its interval", "middle"))
    return svg(bottom + 40, parts, [])


def stage_chart(rows: Sequence[Row], preparation: Mapping[str, Any] | None) -> str:
    """A bar a contender, of the medians of its stages one after another; before it, paler, what comes before."""
    legend = [(label, COLOURS[index]) for index, label in enumerate(STAGE_LABELS.values())]
    ahead = [("decode", "#bbbbbb"), ("preprocess", "#dddddd")] if preparation else []
    on_device = any(row["device"] for row in rows)
    device = list(zip(DEVICE_STEPS, ("#aa4499", "#332288", "#88ccee"), strict=True)) if on_device else []
    bars = []
    for row in rows:
        parts_ms = [(preparation[f"{name}_ms"], name, colour) for name, colour in ahead] if preparation else []
        parts_ms += [
            (row["stages_ms"][stage], label, colour)
            for (stage, label), (_, colour) in zip(STAGE_LABELS.items(), legend, strict=True)
            if isfinite(row["stages_ms"].get(stage, nan))
        ]
        parts_ms += [
            (row["device"][f"{name}_ms"], name, colour)
            for name, colour in device
            if f"{name}_ms" in (row["device"] or {})
        ]
        bars.append((row["contender"], parts_ms))
    longest = max(sum(ms for ms, _, _ in parts_ms) for _, parts_ms in bars)
    unit, bottom = (WIDTH - _LEFT - _RIGHT) / longest, _TOP + _ROW * len(bars)
    parts = []
    step = 10 ** floor(log10(longest)) / (1 if longest / 10 ** floor(log10(longest)) > 4 else 4)
    for tick in range(int(longest / step) + 1):
        at = _LEFT + tick * step * unit
        parts.append(segment(at, _TOP - 4, at, bottom, "#ddd") + text(at, bottom + 14, f"{tick * step:g}", "middle"))
    for index, (name, parts_ms) in enumerate(bars):
        y, at = _TOP + _ROW * index + 4, float(_LEFT)
        parts.append(text(_LEFT - 8, y + 13, name, "end"))
        for ms, label, colour in parts_ms:
            parts.append(
                f'<rect x="{at:.1f}" y="{y}" width="{ms * unit:.1f}" height="{_ROW - 8}" fill="{colour}">'
                f"<title>{escape(label)}: {ms:.4g} ms</title></rect>"
            )
            at += ms * unit
    parts.append(text((_LEFT + WIDTH) / 2, bottom + 32, "ms a clip, medians", "middle"))
    return svg(bottom + 40, parts, [*ahead, *legend, *device])


def accuracy_chart(rows: Sequence[Row], colours: Colours) -> str:
    """Frames a second over the largest difference of a score; an exact contender stands at the left edge."""
    points = [
        (row["contender"], row["accuracy"]["score_max_abs"], row["frames_per_s"]["median"])
        for row in rows
        if row["accuracy"] and isfinite(row["accuracy"]["score_max_abs"])
    ]
    errors = [error for _, error, _ in points if error > 0] or [1e-6]
    least = 10.0 ** (floor(log10(min(errors))) - 1)
    marks = [
        (max(error, least), rate, colours[name], f"{name}: {error:.1e}, {rate:.4g} frames/s")
        for name, error, rate in points
    ]
    return _plane(marks, [], _legend(colours), "largest score difference (left edge: none)", "frames/s")


def roofline_chart(rows: Sequence[Row], roof: Mapping[str, Any], colours: Colours) -> str:
    """Multiply-adds a second that each stage reaches over its multiply-adds a byte, under the machine's own limits."""
    marks = []
    for row in rows:
        for stage in (row["roofline"] or {"stages": []})["stages"]:
            ms = row["stages_ms"][stage["stage"]]
            if ms > 0 and stage["multiply_adds"] > 0:
                rate = stage["multiply_adds"] / ms * 1000
                what = f"{row['contender']} {stage['stage']}: {rate / 1e9:.4g} G multiply-adds/s"
                marks.append((stage["multiply_adds"] / stage["bytes"], rate, colours[row["contender"]], what))
    limits = [(name, peak, roof["bytes_per_s"]) for name, peak in (roof["multiply_adds_per_s"] or {}).items() if peak]
    return _plane(marks, limits, _legend(colours), "multiply-adds a byte", "multiply-adds/s")


Mark = tuple[float, float, str, str]  # across, up, colour, title


def _plane(
    marks: Sequence[Mark],
    roofs: Sequence[tuple[str, float, float]],
    legend: Sequence[tuple[str, str]],
    across: str,
    up: str,
) -> str:
    """Marks on two logarithmic axes; roofs: name, highest rate, and rate a unit across before it is reached."""
    xs = [mark[0] for mark in marks] + [peak / slope for _, peak, slope in roofs]
    ys = [mark[1] for mark in marks] + [peak for _, peak, _ in roofs]
    left, bottom = 90, _TOP + _HEIGHT
    (x0, x1), (y0, y1) = _decades(xs), _decades(ys)

    def x(value: float) -> float:
        return left + (log10(value) - x0) / (x1 - x0) * (WIDTH - left - _RIGHT)

    def y(value: float) -> float:
        return bottom - (log10(value) - y0) / (y1 - y0) * _HEIGHT

    parts = []
    for power in range(x0, x1 + 1):
        at = x(10.0**power)
        parts.append(segment(at, _TOP, at, bottom, "#ddd") + text(at, bottom + 14, f"1e{power}", "middle"))
    for power in range(y0, y1 + 1):
        at = y(10.0**power)
        parts.append(segment(left, at, WIDTH - _RIGHT, at, "#ddd") + text(left - 6, at + 4, f"1e{power}", "end"))
    for name, peak, slope in roofs:
        corner = min(max(peak / slope, 10.0**x0), 10.0**x1)
        start = max(10.0**x0, 10.0**y0 / slope)
        parts.append(segment(x(start), y(start * slope), x(corner), y(peak), "#888", 'stroke-width="1.5"'))
        parts.append(segment(x(corner), y(peak), WIDTH - _RIGHT, y(peak), "#888", 'stroke-width="1.5"'))
        parts.append(text(WIDTH - _RIGHT - 4, y(peak) - 4, name, "end"))
    for across_value, up_value, colour, title in marks:
        parts.append(
            f'<circle cx="{x(across_value):.1f}" cy="{y(up_value):.1f}" r="5" fill="{colour}" opacity="0.85">'
            f"<title>{escape(title)}</title></circle>"
        )
    parts.append(text((left + WIDTH) / 2, bottom + 32, across, "middle") + text(left + 6, _TOP + 14, up, "start"))
    return svg(bottom + 40, parts, legend)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)


def _scale(values: Sequence[float], rows: int) -> tuple[Any, list[str], float]:
    """A logarithmic axis below so many rows, ticks at 1, 2 and 5 of a decade: place of a value, parts, bottom."""
    low, high = log10(min(values) * 0.97), log10(max(values) * 1.03)
    bottom = _TOP + _ROW * rows

    def x(value: float) -> float:
        return _LEFT + (log10(value) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    parts = []
    close = high - low < 0.35
    for power in range(floor(low) - 1, ceil(high) + 1):
        for digit in range(10, 100, 2 if close else 10) if close else (10, 20, 50):
            value = digit * 10.0**power
            if low <= log10(value) <= high:
                parts.append(segment(x(value), _TOP - 4, x(value), bottom, "#ddd"))
                parts.append(text(x(value), bottom + 14, f"{value:g}", "middle"))
    return x, parts, bottom


def _legend(colours: Colours) -> list[tuple[str, str]]:
    return list(colours.items())

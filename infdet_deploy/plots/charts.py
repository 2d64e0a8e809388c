"""Charts as SVG text: one mark a number, logarithmic or linear, no script and nothing from outside the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

WIDTH = 900
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f3f", "#555555")
_LEFT, _RIGHT, _TOP = 230, 20, 24


@dataclass(frozen=True)
class Dot:
    """value: where the mark stands, NaN or infinite for the chart's right edge. limit: a tick beside it, or None."""

    label: str
    value: float
    limit: float | None
    colour: str
    title: str
    hollow: bool = False


def dot_chart(rows: Sequence[tuple[str, Sequence[Dot]]], legend: Sequence[tuple[str, str]], axis: str) -> str:
    """Rows of dots on a logarithmic axis, a row's name to its left; dots past their limit are ringed in red."""
    values = [v for _, dots in rows for dot in dots for v in (dot.value, dot.limit) if v is not None and _positive(v)]
    low, high = (floor(log10(min(values))), ceil(log10(max(values)))) if values else (-1, 0)
    high = max(high, low + 1)
    zero = any(dot.value == 0 for _, dots in rows for dot in dots)
    low -= zero  # the left edge is for 0

    def x(value: float) -> float:
        if not isfinite(value):
            return WIDTH - _RIGHT
        place = (log10(value) - low) / (high - low) if value > 0 else 0.0
        return _LEFT + min(max(place, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT - 14)

    step = 20 if len(rows) <= 20 else 14
    bottom = _TOP + step * len(rows)
    parts = []
    for power in range(low, high + 1, max(1, (high - low) // 10)):
        at = x(10.0**power)
        name = "0" if zero and power == low else f"1e{power}"
        parts.append(segment(at, _TOP - 4, at, bottom, "#ddd") + text(at, bottom + 14, name, "middle"))
    for index, (name, dots) in enumerate(rows):
        y = _TOP + step * (index + 0.5)
        parts.append(segment(_LEFT, y, WIDTH - _RIGHT, y, "#eee") + text(_LEFT - 8, y + 4, name, "end"))
        for place, dot in enumerate(dots):
            dy = y + (place - (len(dots) - 1) / 2) * min(4.0, 14 / max(len(dots), 1))
            if dot.limit is not None and _positive(dot.limit):
                parts.append(segment(x(dot.limit), y - 8, x(dot.limit), y + 8, dot.colour, 'stroke-dasharray="2 2"'))
            wrong = dot.limit is not None and not dot.value <= dot.limit
            fill = "white" if dot.hollow else dot.colour
            stroke = 'stroke="#c00" stroke-width="2.5"' if wrong and not dot.hollow else f'stroke="{dot.colour}"'
            parts.append(
                f'<circle cx="{x(dot.value):.1f}" cy="{dy:.1f}" r="4" fill="{fill}" {stroke}>'
                f"<title>{escape(dot.title)}</title></circle>"
            )
    parts.append(text((_LEFT + WIDTH) / 2, bottom + 32, axis, "middle"))
    return svg(bottom + 40, parts, legend)


@dataclass(frozen=True)
class Line:
    """One curve over 0, 1, 2, …; dashed for what is compared with."""

    values: Sequence[float]
    colour: str
    dashed: bool = False


def line_chart(lines: Sequence[Line], legend: Sequence[tuple[str, str]], axis: str, height: int = 200) -> str:
    """Curves of values from 0 to 1 over their number."""
    left, bottom = 50, _TOP + height
    last = max((len(line.values) for line in lines), default=2) - 1
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - tick * height
        parts.append(segment(left, y, WIDTH - _RIGHT, y, "#ddd") + text(left - 6, y + 4, f"{tick:g}", "end"))
    for line in lines:
        points = " ".join(
            f"{left + index / max(last, 1) * (WIDTH - left - _RIGHT):.1f},{bottom - value * height:.1f}"
            for index, value in enumerate(line.values)
            if isfinite(value)
        )
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>')
    parts.append(text((left + WIDTH) / 2, bottom + 18, axis, "middle"))
    return svg(bottom + 26, parts, legend)


def bar_chart(groups: Sequence[tuple[str, Sequence[float]]], legend: Sequence[tuple[str, str]], axis: str) -> str:
    """Groups of bars from 0 to 1, one bar for each entry of the legend, in its colour."""
    left, height = 50, 160
    bottom = _TOP + height
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - tick * height
        parts.append(segment(left, y, WIDTH - _RIGHT, y, "#ddd") + text(left - 6, y + 4, f"{tick:g}", "end"))
    room = (WIDTH - left - _RIGHT) / max(len(groups), 1)
    for index, (name, values) in enumerate(groups):
        width = 0.8 * room / max(len(values), 1)
        for place, (value, (label, colour)) in enumerate(zip(values, legend, strict=True)):
            at = left + index * room + 0.1 * room + place * width
            parts.append(
                f'<rect x="{at:.1f}" y="{bottom - value * height:.1f}" width="{width * 0.9:.1f}" '
                f'height="{value * height:.1f}" fill="{colour}"><title>{escape(label)}: {value:.3f}</title></rect>'
            )
        parts.append(text(left + (index + 0.5) * room, bottom + 14, name, "middle"))
    parts.append(text((left + WIDTH) / 2, bottom + 32, axis, "middle"))
    return svg(bottom + 40, parts, legend)


def _positive(value: float) -> bool:
    return isfinite(value) and value > 0


def segment(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(height: float, parts: list[str], legend: Sequence[tuple[str, str]]) -> str:
    """The legend's lines, and the chart below them."""
    at, line, keys = 50.0, 0, []
    for name, colour in legend:
        room = 30 + 7 * len(name)
        if at + room > WIDTH and at > 50:
            at, line = 50.0, line + 1
        y = 4 + 18 * line
        key = f'<rect x="{at:.0f}" y="{y}" width="10" height="10" fill="{colour}"/>'
        keys.append(key + text(at + 14, y + 9, name, "start"))
        at += room
    body = f'<g transform="translate(0 {18 * line})">{"".join(parts)}</g>'
    return f'<svg viewBox="0 0 {WIDTH} {height + 18 * line:.0f}" role="img">{"".join(keys)}{body}</svg>'

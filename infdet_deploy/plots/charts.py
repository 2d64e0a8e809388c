"""Charts for HTML pages: matplotlib figures as inline SVG that takes the page's text colour."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from infdet_deploy.plots.figure import plain

REFERENCE_COLOUR = "#999999"
_BAD_COLOUR = "#cc0000"
_WIDTH_IN = 9.0
_TEXT_COLOUR = "#010203"  # replaced by the page's own colour
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "infdet",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _TEXT_COLOUR
)


@dataclass(frozen=True)
class Chart:
    """draw: draws on matplotlib's Axes; labelled artists get a legend above them."""

    draw: Callable[[Any], None]
    height_in: float
    xlabel: str = ""
    ylabel: str = ""

    def svg(self) -> str:
        """The chart as an <svg> element of the page's width."""
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(_WIDTH_IN, self.height_in), layout="constrained")
            axes = figure.subplots()
            self.draw(axes)
            axes.set(xlabel=plain(self.xlabel), ylabel=plain(self.ylabel))
            if axes.get_legend_handles_labels()[0]:
                figure.legend(loc="outside upper left", ncols=5)
            buffer = io.StringIO()
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
        document = buffer.getvalue()
        # without the XML prologue and names of other documents
        element = re.sub(r' xmlns(:xlink)?="[^"]*"', "", document[document.index("<svg") :])
        return element.replace(_TEXT_COLOUR, "currentColor")


def label_rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows 0, 1, … of a chart, from top to bottom."""
    axes.set_yticks(range(len(names)), list(map(plain, names)))
    axes.set_ylim(len(names) - 0.5, -0.5)


@dataclass(frozen=True)
class Dot:
    """One mark. value: NaN and infinity stand at the right edge. limit: a tick at it; above it the mark has a red ring.

    label: the entry of the legend that marks of this colour share.
    """

    value: float
    colour: str
    label: str = ""
    limit: float | None = None
    hollow: bool = False


def dot_chart(rows: Iterable[tuple[str, Sequence[Dot]]], xlabel: str) -> Chart:
    """Rows of marks on a logarithmic axis; zero stands at the left edge."""
    lines = list(rows)
    shown = [v for _, dots in lines for dot in dots for v in (dot.value, dot.limit) if v and isfinite(v)] or [1e-8, 1.0]
    low, high = min(shown) / 10, max(shown) * 10

    def draw(axes: Any) -> None:
        labelled = set()
        for row, (_, dots) in enumerate(lines):
            for number, dot in enumerate(dots):
                y = row + (number - (len(dots) - 1) / 2) * min(0.18, 0.7 / len(dots))
                exceeds = dot.limit is not None and not dot.value <= dot.limit
                axes.plot(
                    max(dot.value, low) if isfinite(dot.value) else high, y, "o", markersize=6, color=dot.colour,
                    label=None if dot.label in labelled else dot.label or None,
                    markerfacecolor="none" if dot.hollow else dot.colour,
                    markeredgecolor=_BAD_COLOUR if exceeds else dot.colour, markeredgewidth=1.5,
                )  # fmt: skip
                labelled.add(dot.label)
                if dot.limit:
                    axes.plot((dot.limit, dot.limit), (row - 0.4, row + 0.4), ":", color=dot.colour, linewidth=1.2)
        axes.set(xscale="log", xlim=(low / 1.3, high * 1.3))
        label_rows(axes, [name for name, _ in lines])
        axes.grid(axis="both")

    return Chart(draw, 0.8 + 0.24 * len(lines), xlabel)

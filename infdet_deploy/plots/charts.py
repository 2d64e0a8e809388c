"""Charts for HTML pages: matplotlib figures as inline SVG that takes the page's text colour."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Eight colours that colour-blind readers can tell apart (Okabe and Ito, without yellow and black).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f3f", "#7f7f7f")
REFERENCE_COLOUR = "#999999"
BAD_COLOUR = "#cc0000"
WIDTH_IN = 9.0
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


class Svg(str):
    """An SVG element, which a page shows as it is instead of escaping it."""


@dataclass
class Chart:
    """axes: to draw on; svg: the result, when the `chart` block has ended."""

    axes: "Axes"
    svg: Svg = field(default=Svg(""))


@contextmanager
def chart(height_in: float, xlabel: str = "", ylabel: str = "") -> Iterator[Chart]:
    """A figure of the page's width to draw on. Labelled artists get a legend above the axes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        made = Chart(figure.subplots())
        yield made
        made.axes.set(xlabel=xlabel, ylabel=ylabel)
        if made.axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper left", ncols=5)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    made.svg = _inline(buffer.getvalue())


def _inline(document: str) -> Svg:
    """The <svg> element of a document: without the XML prologue and names of other documents, in the page's colour."""
    element = document[document.index("<svg") :]
    element = re.sub(r' xmlns(:xlink)?="[^"]*"', "", element)
    return Svg(element.replace(_TEXT_COLOUR, "currentColor"))


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


def dot_chart(rows: Iterable[tuple[str, Iterable[Dot]]], xlabel: str) -> Svg:
    """Rows of marks on a logarithmic axis; zero stands at the left edge."""
    lines = [(name, list(dots)) for name, dots in rows]
    shown = [v for _, dots in lines for dot in dots for v in (dot.value, dot.limit) if v and isfinite(v)] or [1e-8, 1.0]
    low, high = min(shown) / 10, max(shown) * 10
    with chart(0.8 + 0.24 * len(lines), xlabel) as made:
        axes, labelled = made.axes, set()
        for row, (_, dots) in enumerate(lines):
            for number, dot in enumerate(dots):
                y = row + (number - (len(dots) - 1) / 2) * min(0.18, 0.7 / len(dots))
                exceeds = dot.limit is not None and not dot.value <= dot.limit
                label = dot.label if dot.label not in labelled else ""
                labelled.add(dot.label)
                axes.plot(
                    max(dot.value, low) if isfinite(dot.value) else high, y, "o", markersize=6, color=dot.colour,
                    label=label or None, markerfacecolor="none" if dot.hollow else dot.colour,
                    markeredgecolor=BAD_COLOUR if exceeds else dot.colour, markeredgewidth=1.5,
                )  # fmt: skip
                if dot.limit:
                    axes.plot((dot.limit, dot.limit), (row - 0.4, row + 0.4), ":", color=dot.colour, linewidth=1.2)
        axes.set(xscale="log", xlim=(low / 1.3, high * 1.3), ylim=(len(lines) - 0.5, -0.5))
        axes.set_yticks(range(len(lines)), [name for name, _ in lines])
        axes.grid(axis="both")
    return made.svg

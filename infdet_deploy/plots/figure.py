"""Shared by all pictures: matplotlib without a display, colours, legends, saving."""

from pathlib import Path
from typing import Any

from infdet_deploy.errors import missing_package
from infdet_deploy.files import whole_file
from infdet_deploy.text import visible

# Colours that colour-blind readers can tell apart (Okabe and Ito, without yellow and black).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f3f", "#7f7f7f")


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files. Raises InfdetError if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise missing_package("matplotlib", "plot", "drawing a picture") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def plain(text: str) -> str:
    """Text from outside for matplotlib, which would read `$…$` as a formula and fails on names that are not UTF-8."""
    return visible(text).replace("$", r"\$")


def legend_below(part: Any, *entries: Any, columns: int = 3) -> None:
    """A legend below a figure or subfigure with constrained layout, where it covers nothing.

    entries: handles and labels; default: those of its artists.
    """
    part.legend(*entries, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def save_figure(figure: Any, path: Path | str) -> Path:
    """Write a figure, atomically, in the format of the suffix, and close it."""
    path = Path(path)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix.lstrip(".") or "png")
    pyplot().close(figure)
    return path

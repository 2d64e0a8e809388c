"""The HTML page of `bench` and `verify`: one file that loads nothing, readable in light and dark mode."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from infdet_deploy.files import whole_file
from infdet_deploy.plots.charts import Chart

NO_CHARTS = "Charts need the package matplotlib: pip install 'infdet-deploy[plot]', then write this page again."


@dataclass(frozen=True)
class Section:
    """A heading with a chart, a table of text and a note below them, each optional.

    failed: numbers of the rows that stand out.
    """

    heading: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    failed: Collection[int] = ()
    chart: Chart | None = None


@dataclass(frozen=True)
class Page:
    """title: also the first heading; verdict: one line, green where `passed`; intro and errors: lines below it."""

    title: str
    sections: Sequence[Section]
    verdict: str = ""
    passed: bool = True
    intro: Sequence[str] = ()
    errors: Sequence[str] = ()


def render(page: Page) -> str:
    """The page as HTML; all text in it is escaped. Without matplotlib, a line replaces the charts."""
    draw = find_spec("matplotlib") is not None
    parts = [_element("h1", page.title)]
    if page.verdict:
        parts.append(_element("p", page.verdict, "good" if page.passed else "bad"))
    parts += [_element("p", line, "note") for line in (*page.intro, *([] if draw else [NO_CHARTS]))]
    parts += [_element("p", error, "bad") for error in page.errors]
    for section in page.sections:
        parts.append(_element("h2", section.heading))
        if section.chart and draw:
            parts.append(section.chart.svg())
        if section.columns:
            parts.append(_table(section))
        if section.note:
            parts.append(_element("p", section.note, "note"))
    template = files("infdet_deploy.plots").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(page.title), body="\n".join(parts))


def write_page(path: Path, page: Page) -> None:
    """Write the page as HTML, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(render(page), encoding="utf-8", errors="backslashreplace")  # names that are not UTF-8


def _table(section: Section) -> str:
    lines = ["<tr>" + "".join(_element("th", column) for column in section.columns) + "</tr>"]
    for number, row in enumerate(section.rows):
        start = '<tr class="failed">' if number in section.failed else "<tr>"
        lines.append(start + "".join(_element("td", cell) for cell in row) + "</tr>")
    return '<div class="table"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _element(tag: str, text: str, css_class: str = "") -> str:
    attribute = f' class="{css_class}"' if css_class else ""
    return f"<{tag}{attribute}>{escape(text)}</{tag}>"

"""The HTML page of `bench` and `verify`: one file that loads nothing, readable in light and dark mode."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from infdet_deploy.errors import missing_package
from infdet_deploy.files import whole_file
from infdet_deploy.plots.charts import Svg


@dataclass(frozen=True)
class Table:
    """A table of text. failed: numbers of the rows that stand out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    failed: Collection[int] = ()


@dataclass(frozen=True)
class Section:
    """A heading with a chart, a table and a note below them, each optional."""

    heading: str
    chart: Svg | None = None
    table: Table | None = None
    note: str = ""


@dataclass(frozen=True)
class Page:
    """title: also the first heading; verdict: one line, green where `passed`; intro and errors: lines below it."""

    title: str
    sections: Sequence[Section]
    verdict: str = ""
    passed: bool = True
    intro: Sequence[str] = ()
    errors: Sequence[str] = ()


def check_page_packages() -> None:
    """Raise InfdetError where matplotlib or Jinja2, which draw the page, are not installed."""
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise missing_package(package, "plot", "an HTML page")


def render(page: Page) -> str:
    """The page as HTML; all text in it is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=lambda v: Markup(v) if isinstance(v, Svg) else v,
    )
    template = files("infdet_deploy.plots").joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(page=page)


def write_page(path: Path, page: Page) -> None:
    """Write the page as HTML, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(render(page), encoding="utf-8")

"""The report of `bench` in a folder: report.json, report.md and one HTML page with its charts inside."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from infdet_deploy.benchmarks.charts import accuracy_chart, latency_chart, roofline_chart, stage_chart
from infdet_deploy.benchmarks.tables import headline, markdown, remarks, tables
from infdet_deploy.console import finite
from infdet_deploy.files import whole_file, write_json
from infdet_deploy.plots.charts import COLOURS
from infdet_deploy.plots.html import document
from infdet_deploy.plots.html import table as html_table


def write_report(folder: Path, report: Mapping[str, Any]) -> list[Path]:
    """Write the three files, each whole or not at all, into a folder that is made where it is not there."""
    paths = [folder / f"report.{suffix}" for suffix in ("json", "md", "html")]
    write_json(paths[0], finite(report))
    for path, content in zip(paths[1:], (markdown(report), page(report)), strict=True):
        with whole_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def page(report: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    good = [row for row in report["contenders"] if not row["error"]]
    colours = {row["contender"]: COLOURS[index % len(COLOURS)] for index, row in enumerate(good)}
    versions = ", ".join(f"{package} {version}" for package, version in report["versions"].items())
    title = f"bench {report['bundle']}"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(headline(report))}</p>",
        f'<p class="note">{escape(report["made"])}; {escape(versions)}.</p>',
        *(f'<p class="note">{escape(line)}</p>' for line in remarks(report)),
        *(f'<p class="bad">{escape(row["error"])}</p>' for row in report["contenders"] if row["error"]),
    ]
    charts = {}
    if good:
        charts = {0: latency_chart(good, colours), 1: stage_chart(good, report["preparation"])}
        if any(row["accuracy"] for row in good):
            charts[2] = accuracy_chart(good, colours)
    for index, one in enumerate(tables(report)):
        heading = "Latency" if index == 0 else one.title
        parts += [f"<h2>{escape(heading)}</h2>", charts.get(index, "") if good else ""]
        parts.append(html_table(one.columns, one.rows, one.note))
    if any(row["roofline"] for row in good):
        parts += [
            "<h2>Roofline</h2>",
            roofline_chart(good, report["roofline"], colours),
            f'<p class="note">A mark for each stage of each contender; {escape(report["roofline"]["note"])}. '
            "Lines: the matrix product and the copy measured in the same run.</p>",
        ]
    return document(title, parts)

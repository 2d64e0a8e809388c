"""The report of `bench` in a folder: report.json, report.md and report.html with its charts inside."""

from dataclasses import replace
from pathlib import Path

from infdet_deploy.benchmarks.charts import accuracy_chart, latency_chart, roofline_chart, stage_chart
from infdet_deploy.benchmarks.report import BenchReport
from infdet_deploy.benchmarks.tables import headline, markdown, remarks, tables, versions
from infdet_deploy.console import finite
from infdet_deploy.files import whole_file, write_json
from infdet_deploy.plots.charts import COLOURS, Svg
from infdet_deploy.plots.page import Page, Section, write_page


def write_report(folder: Path, report: BenchReport) -> None:
    """Write the three files, each whole or not at all; the folder is created where it is missing."""
    write_json(folder / "report.json", finite(report.to_dict()))
    with whole_file(folder / "report.md") as temporary:
        temporary.write_text(markdown(report), encoding="utf-8")
    write_page(folder / "report.html", page(report))


def page(report: BenchReport) -> Page:
    """The content of report.html."""
    measured, charts = report.measured, list[Svg]()
    colours = {row.contender: COLOURS[index % len(COLOURS)] for index, (row, _) in enumerate(measured)}
    sections = tables(report)
    if measured:
        sections[0] = replace(sections[0], heading="Latency")
        charts = [latency_chart(measured, colours), stage_chart(measured, report.preparation)]
        if any(figures.accuracy for _, figures in measured):
            charts.append(accuracy_chart(measured, colours))
    for index, chart in enumerate(charts):
        sections[index] = replace(sections[index], chart=chart)
    if report.peaks and any(figures.roofline for _, figures in measured):
        note = f"A mark for each stage of each contender; {report.roofline_note}. Lines: the machine's measured limits."
        sections.append(Section("Roofline", roofline_chart(measured, report.peaks, colours), note=note))
    return Page(
        f"bench {report.bundle}",
        sections,
        intro=[f"{headline(report)}.", f"{report.made}; {versions(report)}.", *remarks(report)],
        errors=report.failures,
    )

"""`bench`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command()
def bench(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle [default: newest here, else the paper's network].")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Measure a preset with seeded random weights instead.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    runs: Annotated[int, typer.Option(help="Timed runs of every contender.")] = 100,
    backends: Annotated[str, typer.Option(help="Comma-separated backends, cuda, or all.")] = "openvino",
    precision: Annotated[str, typer.Option(help="Comma-separated precisions, or all.")] = "all",
    against: Annotated[
        str | None, typer.Option(help="eager: also measure the original network in PyTorch, and the factor to it.")
    ] = None,
    performance: Annotated[
        Literal["latency", "throughput"],
        typer.Option(help="latency: one clip on all CPUs; throughput: several at once, each on few."),
    ] = "latency",
    rewrites: Annotated[
        bool, typer.Option("--rewrites", help="Also measure what each of export's exact rewrites gives.")
    ] = False,
    compare: Annotated[Path | None, typer.Option(help="An earlier report.json to put beside.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, report.md and report.html.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Measure speed: whole clips from frames to detections, each contender in its own process, in alternation, nothing
    dropped; exit 1 when one of them fails."""
    from infdet_deploy.benchmarks import bench as command
    from infdet_deploy.benchmarks import report as speed
    from infdet_deploy.benchmarks import tables as speed_tables

    report = command.bench(
        bundle, preset, frames, runs, backends, precision, against, compare, out, rewrites, performance
    )
    if json_output:
        print_json(report)
    else:
        for one in speed_tables.tables(report):
            table(one.title, one.columns, one.rows, f"{one.note}\n")
        print("\n".join(speed_tables.remarks(report)))
        if out is not None:
            print(f"page: {out / 'report.html'}")
    failed = speed.failures(report)
    for error in failed:
        print(f"infdet-deploy: {error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)

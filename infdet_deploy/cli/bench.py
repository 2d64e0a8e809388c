"""`bench`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from infdet_deploy.cli.app import BackendsOption, JsonFlag, PrecisionsOption, app, renamed
from infdet_deploy.console import print_json, progress, table


@app.command(cls=renamed({"--backends": "--backend"}))
def bench(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Folder NAME.infdet [default: newest here, else the paper's network]."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Measure a preset with seeded random weights instead.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    runs: Annotated[int, typer.Option(help="Timed runs of every contender.")] = 100,
    backend: BackendsOption = "openvino",
    precision: PrecisionsOption = "all",
    against: Annotated[
        Literal["eager"] | None, typer.Option(help="Also measure the original network in PyTorch.")
    ] = None,
    performance: Annotated[
        Literal["latency", "throughput"],
        typer.Option(help="One clip on all CPUs, or several concurrent clips on few CPUs each."),
    ] = "latency",
    compare: Annotated[Path | None, typer.Option(metavar="FILE", help="Earlier report.json to compare with.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.json, report.md and report.html here.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Measure speed on whole clips, from frames to detections.

    Contenders run in alternation, each in its own process, and no run is dropped. `--backend cuda` measures the network
    in PyTorch on an NVIDIA GPU. Exit status 1 when a contender fails.
    """
    from infdet_deploy.benchmarks.bench import BenchOptions
    from infdet_deploy.benchmarks.bench import bench as measure
    from infdet_deploy.benchmarks.tables import remarks, tables
    from infdet_deploy.cli.subjects import bundle_path

    options = BenchOptions(preset, frames, runs, backend, precision, against, performance, compare, out)
    if bundle is not None or (preset is None and any(Path().glob("*.infdet"))):
        bundle = bundle_path(bundle)
    with progress("bench") as update:
        report = measure(bundle, options, update)
    if json_output:
        print_json(report.to_dict())
    else:
        for section in tables(report):
            table(section.heading, section.columns, section.rows, f"{section.note}\n")
        print("\n".join(remarks(report)))
        if out is not None:
            print(f"page: {out / 'report.html'}")
    for error in report.failures:
        print(f"infdet-deploy: {error}", file=sys.stderr)
    if report.failures:
        raise typer.Exit(1)

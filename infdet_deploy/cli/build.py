"""`build`."""

import sys
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, app
from infdet_deploy.cli.export import operators_text
from infdet_deploy.console import print_json, table


@app.command()
def build(
    bundle: BundleArg,
    target: Annotated[str, typer.Option(help="tensorrt (this GPU) or tensorrt-rtx (any machine).")] = "tensorrt",
    arch: Annotated[str | None, typer.Option(help="GPU architectures for tensorrt-rtx: sm86,sm89.")] = None,
    precision: Annotated[str, typer.Option(help="Comma-separated precisions, or all.")] = "all",
    frames: Annotated[str, typer.Option(help="MIN,OPT,MAX frames of a chunk.")] = "16,128,384",
    clip_frames: Annotated[int, typer.Option(help="Frames of the longest clip, which the head sees whole.")] = 32768,
    memory: Annotated[int | None, typer.Option(help="Scratch memory a layer may take, in MB.")] = None,
    dla: Annotated[int | None, typer.Option(help="DLA core to use; not for 3D convolutions.")] = None,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Let engines run on every GPU from Ampere on.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let engines run on later TensorRT versions.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Build TensorRT engines of a bundle's stages, on the device that is to run them; exit 1 when one is refused."""
    from infdet_deploy.runtime.backends.tensorrt import bundle_engines as engines

    report = engines.build(
        bundle, target, arch, precision, frames, clip_frames, memory, dla, hardware_compatible, version_compatible
    )
    failed = [row for row in report["built"] if "error" in row]
    if json_output:
        print_json(report)
    else:
        rows = [
            [row["stage"], row["precision"], "refused", "", "", ""]
            if "error" in row
            else [
                *(row["stage"], row["precision"]),
                "here already" if row["reused"] else f"{row['build_s']:.1f}",
                f"{row['engine_bytes'] / 1e6:.1f}",
                operators_text(row["layers"]),
                "engine" if row["inspected"] else "graph",
            ]
            for row in report["built"]
        ]
        title = f"{report['engines']}: {report['target']} {report['version']}, {report['gpu']}"
        columns = ["stage", "precision", "build s", "engine MB", "layers compute in", "says the"]
        table(title, columns, rows)
    for row in failed:
        print(f"infdet-deploy: {row['stage']} {row['precision']}: {row['error']}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)

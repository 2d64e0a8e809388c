"""`import-weights`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from infdet_deploy.cli.app import app, class_names

Tower = Literal["infrared", "flow"]


@app.command(name="import-weights")
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The original network's checkpoint, or a Kinetics I3D tower's.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    classes: Annotated[str | None, typer.Option(help="Comma-separated class names in the weights' order.")] = None,
    tower: Annotated[Tower | None, typer.Option(help="The tower to import, for a Kinetics checkpoint.")] = None,
    into: Annotated[Path | None, typer.Option(help="Checkpoint whose tower to replace, with --tower.")] = None,
) -> None:
    """Convert published weights; reads tensors only and executes nothing in the file."""
    from infdet_deploy.model.foreign_weights import import_weights as convert

    report = convert(checkpoint, out, class_names(classes), tower, into)
    print(f"{out}: {report.loaded} entries loaded, {len(report.unused)} unused")
    for name in report.unused:
        print(f"  unused: {name}")
    print(f"next: infdet-deploy export {out} --precision float16")

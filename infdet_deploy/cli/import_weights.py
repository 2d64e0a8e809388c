"""`import-weights`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import app, class_names


@app.command(name="import-weights")
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The original network's checkpoint, or a Kinetics I3D tower's.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    classes: Annotated[str | None, typer.Option(help="Comma-separated class names in the weights' order.")] = None,
    tower: Annotated[str | None, typer.Option(help="For a Kinetics checkpoint: infrared or flow.")] = None,
    into: Annotated[Path | None, typer.Option(help="With --tower: the checkpoint to put the tower into.")] = None,
) -> None:
    """Bring in published weights; tensors only, nothing in the file is executed."""
    from infdet_deploy.model import importing as weights

    report = weights.import_weights(checkpoint, out, class_names(classes), tower, into)
    print(f"{out}: {report.loaded} entries loaded, {len(report.unused)} without effect on the network")
    for name in report.unused:
        print(f"  unused: {name}")
    print(f"next: infdet-deploy export {out} --fp16")

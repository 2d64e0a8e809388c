"""`demo`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import app


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    sample: Annotated[Path | None, typer.Option(help="A real recording to run as well.")] = None,
) -> None:
    """Run every step on synthetic data: make it, train, evaluate, export, verify, bench, detect, draw."""
    from infdet_deploy.cli.demo_steps import run

    run(out, sample)

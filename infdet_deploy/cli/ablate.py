"""`ablate`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.cli.train import FreezeFlag, SeedOption, SetOption, WholeClipsFlag
from infdet_deploy.console import print_json


@app.command()
def ablate(
    data: Annotated[
        Path | None, typer.Argument(help="Dataset folder; without it a synthetic set is made in data/.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet (the paper's).")] = "tiny",
    out: Annotated[Path, typer.Option(help="A run folder for each row; finished rows there are kept.")] = Path(
        "runs/ablation"
    ),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each row [default: 360].")] = None,
    seed: SeedOption = None,
    weights: Annotated[
        Path | None, typer.Option(help="Every row starts from this checkpoint, as far as it fits.")
    ] = None,
    whole_clips: WholeClipsFlag = False,
    freeze_towers: FreezeFlag = False,
    setting: SetOption = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this row; may be given several times.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Train and evaluate the rows of the paper's Tables IV and V; Markdown, with the paper's figures beside."""
    from infdet_deploy.training import ablate as ablation
    from infdet_deploy.training import running as training

    settings = training.settings(steps, seed, whole_clips, freeze_towers, setting or [])
    result = ablation.ablate(data, preset, out, weights, settings, only or [])
    if json_output:
        print_json(result)
    else:
        print(result["markdown"], end="")

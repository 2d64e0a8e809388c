"""`ablate`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import DataOption, JsonFlag, app
from infdet_deploy.cli.train import (
    FreezeFlag,
    PresetOption,
    SeedOption,
    SetOption,
    WholeClipsFlag,
    show_progress,
)
from infdet_deploy.console import print_json, say


@app.command()
def ablate(
    old_data: Annotated[Path | None, typer.Argument(metavar="[DATA]", hidden=True)] = None,
    data: DataOption = None,
    preset: PresetOption = "tiny",
    out: Annotated[Path, typer.Option(help="Folder for the rows' run folders; finished rows are kept.")] = Path(
        "runs/ablation"
    ),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each row [default: 360].")] = None,
    seed: SeedOption = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start every row from this checkpoint, as far as it fits.")
    ] = None,
    whole_clips: WholeClipsFlag = False,
    freeze_towers: FreezeFlag = False,
    setting: SetOption = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Run only this row; repeatable.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Train and test the rows of the paper's Tables IV and V; prints Markdown with the paper's figures.

    Without --data, a synthetic data set is made in data/. Rerun the command to continue after an interruption.
    """
    from infdet_deploy.training.options import AblateOptions, parse_settings

    if old_data is not None and data is None:
        say(f"note: use --data {old_data}; the next release removes DATA without --data")
    options = AblateOptions(
        preset=preset, out=out, steps=steps, seed=seed, weights=weights, whole_clips=whole_clips,
        freeze_towers=freeze_towers, settings=parse_settings(setting or []), only=tuple(only or ()),
    )  # fmt: skip
    from infdet_deploy.training.ablation import ablate as run_ablation

    with show_progress() as show:
        result = run_ablation(data or old_data, options, show)
    if json_output:
        print_json(result.to_dict())
    else:
        print(result.markdown, end="")

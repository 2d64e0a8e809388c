"""`train` and `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder; without it a synthetic set is made in data/.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet (the paper's).")] = "tiny",
    out: Annotated[Path | None, typer.Option(help="Run folder [default: runs/PRESET-N].")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps [default: 360].")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="Start from this .safetensors checkpoint; its size goes before --preset.")
    ] = None,
    whole_clips: Annotated[
        bool, typer.Option("--whole-clips", help="Clips at full length, in bounded memory; best after --weights.")
    ] = False,
    streams: Annotated[str | None, typer.Option(help="infrared, flow or both.")] = None,
    flow: Annotated[str | None, typer.Option(help="Where flow comes from: fen or tvl1.")] = None,
    fusion: Annotated[
        str | None, typer.Option(help="sca, cross, self, late, min, max, concat; none or self for one stream.")
    ] = None,
    fen_projection: Annotated[
        bool, typer.Option("--fen-projection", help="The paper's projection in the FEN's layer4.")
    ] = False,
    freeze_towers: Annotated[
        bool, typer.Option("--freeze-towers", help="Leave the towers as they are; give them with --weights.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Train the network: action scores and optical flow together."""
    from infdet_deploy.commands import training

    asked = {"streams": streams, "flow": flow, "fusion": fusion, "fen_projection": fen_projection or None}
    variant = {name: value for name, value in asked.items() if value is not None}
    result = training.train(data, preset, out, steps, seed, resume, weights, whole_clips, variant, freeze_towers)
    if json_output:
        print_json(result)
        return
    print(f"run: {result['run']}")
    print(f"mAP@0.5 (THUMOS'14) on the clips that chose the checkpoint: {result['validation_map_0.5']:.3f}")
    if result["test_map_0.5"] is not None:
        print(f"mAP@0.5 on test clips, which training has not seen: {result['test_map_0.5']:.3f}")
    print(f"next: infdet-deploy export {result['run']} --fp16")


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
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="Every row starts from this checkpoint, as far as it fits.")
    ] = None,
    whole_clips: Annotated[bool, typer.Option("--whole-clips", help="Clips at full length.")] = False,
    freeze_towers: Annotated[
        bool, typer.Option("--freeze-towers", help="Leave the towers of --weights as they are, as the paper does.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this row; may be given several times.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Train and evaluate the rows of the paper's Tables IV and V; Markdown, with the paper's figures beside."""
    from infdet_deploy.commands import ablation

    result = ablation.ablate(data, preset, out, steps, seed, weights, whole_clips, freeze_towers, only or [])
    if json_output:
        print_json(result)
    else:
        print(result["markdown"], end="")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    sample: Annotated[Path | None, typer.Option(help="A real recording to run as well.")] = None,
) -> None:
    """The whole way on synthetic data: make it, train, evaluate, export, verify, bench, detect, draw."""
    from infdet_deploy.demo import run

    run(out, sample)

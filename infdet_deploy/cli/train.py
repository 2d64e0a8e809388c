"""`train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table
from infdet_deploy.errors import UsageError

WholeClipsFlag = Annotated[
    bool, typer.Option("--whole-clips", help="Clips at full length, in bounded memory; best after --weights.")
]
FreezeFlag = Annotated[
    bool, typer.Option("--freeze-towers", help="Leave the towers of --weights as they are, as the paper does.")
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of weights and sampling [default: 0].")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE, any other setting; see docs/training.md.")
]


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder; without it a synthetic set is made in data/.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet (the paper's).")] = "tiny",
    out: Annotated[Path | None, typer.Option(help="Run folder [default: runs/PRESET-N].")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps [default: 360].")] = None,
    seed: SeedOption = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from this .safetensors checkpoint; its size goes before --preset.")
    ] = None,
    whole_clips: WholeClipsFlag = False,
    freeze_towers: FreezeFlag = False,
    task: Annotated[
        str | None, typer.Option(help="detection, or recognition of trimmed clips [default: detection].")
    ] = None,
    streams: Annotated[str | None, typer.Option(help="infrared, flow or both [default: both].")] = None,
    flow: Annotated[str | None, typer.Option(help="Where flow comes from: fen or tvl1 [default: fen].")] = None,
    fusion: Annotated[
        str | None,
        typer.Option(help="sca, cross, self, late, min, max or concat; none or self for one stream [default: sca]."),
    ] = None,
    fen_projection: Annotated[
        bool, typer.Option("--fen-projection", help="The paper's projection in the FEN's layer4.")
    ] = False,
    flow_stride: Annotated[
        int | None,
        typer.Option(help="Flow of every 4th pixel, every 2nd or all; less than 4 for small frames [default: 4]."),
    ] = None,
    setting: SetOption = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves into the run folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen, how long and in how much memory.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in --out stopped, the newest by default.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Train the network: action scores and optical flow together."""
    from infdet_deploy.training import running as training

    asked = {
        "streams": streams, "flow": flow, "fusion": fusion, "task": task, "fen_projection": fen_projection or None,
        "flow_stride": flow_stride,
    }  # fmt: skip
    variant = {name: value for name, value in asked.items() if value is not None}
    settings = training.settings(steps, seed, whole_clips, freeze_towers, setting or [])
    if dry_run and resume:
        raise UsageError("--dry-run and --resume exclude each other: a run that is resumed goes on as it began")
    if dry_run:
        result = training.dry_run(data, preset, weights, variant, settings)
    else:
        result = training.train(data, preset, out, resume, weights, variant, settings, tensorboard)
    if not result["leads"]:  # of several processes one speaks
        return
    if json_output:
        print_json(result)
        return
    if dry_run:
        _print_plan(result)
        return
    print(f"run: {result['run']}")
    print(f"{result['figure']} on the clips that chose the checkpoint: {result['validation']:.3f}")
    if result["test"] is not None:
        print(f"{result['figure']} on test clips, which training has not seen: {result['test']:.3f}")
    print(f"next: infdet-deploy export {result['run']} --fp16")


def _print_plan(plan: dict[str, Any]) -> None:
    rows = []
    for name, about in plan["subsets"].items():
        minutes = "–" if about["minutes"] is None else f"{about['minutes']:.1f}"
        instances = (str(about["instances"][label]) for label in plan["classes"])
        rows.append([name, str(about["clips"]), minutes, *instances, str(about["to_prepare"])])
    table(plan["data"], ["subset", "clips", "minutes", *plan["classes"], "to prepare"], rows)
    if plan["validation_share"]:
        print(f"validates on {plan['validation_share']:.0%} of the training clips, which are counted apart")
    epochs = "" if plan["epochs"] is None else f" ({plan['epochs']:.1f} epochs)"
    what = "whole clips" if plan["whole_clips"] else "windows"
    print(f"parameters: {plan['parameters']['trained']:,} trained, {plan['parameters']['frozen']:,} frozen")
    print(f"steps: {plan['steps']}{epochs}, of {plan['batch']} {what}")
    print(f"computes in {plan['precision']} on {plan['device']}, processes: {plan['processes']}")
    print(
        f"measured on {plan['measured_on']}: {plan['seconds_per_step']:.2f} s a step, {plan['hours']:.2f} h in all "
        f"without preparing and validating; peak memory {plan['peak_memory_mb']:.0f} MB a process"
    )

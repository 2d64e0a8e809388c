"""`train`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from infdet_deploy.cli.app import DataOption, JsonFlag, app
from infdet_deploy.console import print_json, progress, say, table

if TYPE_CHECKING:
    from infdet_deploy.training.loop import OnProgress, Progress
    from infdet_deploy.training.plan import TrainingPlan

# As in `model.presets`, which would import numpy for --help.
Preset = Literal["small", "array", "tiny", "infdet"]
Task = Literal["detection", "recognition"]
Streams = Literal["infrared", "flow", "both"]
FlowSource = Literal["fen", "tvl1"]
FusionKind = Literal["none", "sca", "cross", "self", "late", "min", "max", "concat"]

PresetOption = Annotated[
    Preset,
    typer.Option(help="small: fast; array: thermal sensors of few pixels; infdet: the paper's; tiny: its miniature."),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(help="Start from this run, checkpoint or bundle, or from `pretrained`; its size overrides --preset."),
]
WholeClipsFlag = Annotated[
    bool, typer.Option("--whole-clips", help="Train on whole clips in bounded memory; best with --weights.")
]
FreezeFlag = Annotated[
    bool, typer.Option("--freeze-towers", help="Do not train the towers of --weights, as in the paper.")
]
SeedOption = Annotated[int | None, typer.Option(help="Seed of weights and sampling [default: 0].")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, repeatable; see docs/training.md."),
]


@app.command()
def train(
    data: DataOption = None,
    preset: PresetOption = "small",
    out: Annotated[Path | None, typer.Option(help="Run folder [default: runs/PRESET-N].")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps [default: by the number of actions].")] = None,
    seed: SeedOption = None,
    weights: WeightsOption = None,
    whole_clips: WholeClipsFlag = False,
    freeze_towers: FreezeFlag = False,
    task: Annotated[
        Task | None, typer.Option(help="detection, or recognition of trimmed clips [default: detection].")
    ] = None,
    streams: Annotated[Streams | None, typer.Option(help="Towers of the network [default: the preset's].")] = None,
    flow: Annotated[FlowSource | None, typer.Option(help="Source of the flow [default: fen].")] = None,
    fusion: Annotated[
        FusionKind | None, typer.Option(help="Fusion of two streams; for one stream, none or self [default: sca].")
    ] = None,
    fen_projection: Annotated[
        bool, typer.Option("--fen-projection", help="Add the paper's projection to the FEN's layer4.")
    ] = False,
    flow_stride: Annotated[
        int | None,
        typer.Option(help="Flow of every 4th pixel, every 2nd or all; less for small frames [default: the preset's]."),
    ] = None,
    setting: SetOption = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves into the run folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report the plan, time and memory; train and write nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out [default: the newest] where it stopped.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Train the network: action scores and optical flow together.

    Without --data, a synthetic data set is made in data/. Ctrl-C saves the state; --resume continues.
    """
    from infdet_deploy.training.options import TrainOptions, parse_settings

    options = TrainOptions(
        preset=preset, out=out, steps=steps, seed=seed, weights=weights, whole_clips=whole_clips,
        freeze_towers=freeze_towers, task=task, streams=streams, flow=flow, fusion=fusion,
        fen_projection=fen_projection, flow_stride=flow_stride, settings=parse_settings(setting or []),
        tensorboard=tensorboard, resume=resume,
    )  # fmt: skip
    # Only now, because it imports torch.
    from infdet_deploy.training import train as training
    from infdet_deploy.training.distributed import launched_world

    is_main = launched_world().is_main
    with show_progress(is_main) as show:
        if dry_run:
            plan = training.plan_training(data, options, show)
        else:
            result = training.train(data, options, show)
    if not is_main:
        return
    if json_output:
        print_json(plan.to_dict() if dry_run else result.to_dict())
    elif dry_run:
        _print_plan(plan)
    else:
        print(f"run: {result.run}")
        print(f"{result.figure} on the validation clips: {result.validation_value:.3f}")
        if result.test_value is not None:
            print(f"{result.figure} on the held-out test clips: {result.test_value:.3f}")
        print(f"next: infdet-deploy export {result.run} --precision float16")


@contextmanager
def show_progress(wanted: bool = True) -> "Iterator[OnProgress]":
    """Show a training's progress and notes on stderr."""
    with progress("", wanted) as update:

        def show(p: "Progress") -> None:
            if p.note:
                say(p.note)
            if not p.steps:
                return
            losses = ""
            if p.loss is not None:
                losses = f": loss {p.loss:.3f} (actions {p.classification:.3f}, flow {p.flow:.3f})"
            update(p.step, p.steps, f"{p.row} {p.phase}{losses}".strip())
            if p.validation is not None:
                from infdet_deploy.training.validation import headline

                name, value = headline(p.validation)
                say(f"step {p.step}/{p.steps}: validation loss {p.validation['loss']:.3f}, {name} {value:.3f}")

        yield show


def _print_plan(plan: "TrainingPlan") -> None:
    rows = []
    for name, subset in plan.subsets.items():
        minutes = "–" if subset.minutes is None else f"{subset.minutes:.1f}"
        instances = (str(subset.instances[label]) for label in plan.classes)
        rows.append([name, str(subset.clips), minutes, *instances, str(subset.to_prepare)])
    table(plan.data, ["subset", "clips", "minutes", *plan.classes, "to prepare"], rows)
    if plan.validation_share:
        print(f"validation: {plan.validation_share:.0%} of the training clips, counted above")
    epochs = "" if plan.epochs is None else f" ({plan.epochs:.1f} epochs)"
    samples = "whole clips" if plan.whole_clips else "windows"
    print(f"parameters: {plan.trained_parameters:,} trained, {plan.frozen_parameters:,} frozen")
    print(f"steps: {plan.steps}{epochs}, each with {plan.batch} {samples}")
    print(f"computes in {plan.precision} on {plan.device}, processes: {plan.processes}")
    print(
        f"about {plan.seconds_per_step:.2f} s per step, {plan.hours:.2f} h in all without preparation and validation; "
        f"about {plan.peak_memory_mb:.0f} MB of memory per process (extrapolated from short steps)"
    )

"""`dataset synth`, `check`, `convert` and `prepare`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import ClassesOption, DataArg, FpsOption, JsonFlag, class_names, dataset_app
from infdet_deploy.console import print_json, progress, table


@dataset_app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    clips: Annotated[int, typer.Option(help="Number of clips; a quarter of them is for testing.")] = 60,
    seed: Annotated[int, typer.Option(help="Same seed, same drawn frames.")] = 0,
) -> None:
    """Make thermal-looking videos of people who drop, fight and hug, with annotations."""
    from infdet_deploy.training import running as training

    training.synthesise(out, clips, seed)
    print(f"{out}: {clips} clips in videos/, annotations.json")
    print(f"next: infdet-deploy train --data {out}")


@dataset_app.command()
def check(
    data: DataArg,
    classes: ClassesOption = None,
    fps: FpsOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw lengths and clips into this PNG.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Read all annotations, decode all frames, and say what is there and what is wrong; exit 1 on any problem."""
    from infdet_deploy.datasets import command as datasets

    report = datasets.check_dataset(data, class_names(classes), fps, picture)
    if json_output:
        print_json(report)
    else:
        subsets = ", ".join(f"{count} {name}" for name, count in report["subsets"].items() if name != "None")
        rows = []
        for label, (short, middle, long) in report["lengths"].items():
            spread = report["length_s"][label] or {"mean": 0, "shortest": 0, "longest": 0}
            figures = [f"{spread[key]:.2f}" for key in ("mean", "shortest", "longest")]
            rows.append([label, str(short), str(middle), str(long), str(short + middle + long), *figures])
        columns = ["class", "0–5 s", "5–10 s", "from 10 s", "instances", "mean s", "shortest s", "longest s"]
        clips = f"{report['clips']} clips{f' ({subsets})' if subsets else ''}"
        if any(report["trimmed"].values()):
            title = f"{report['annotations']}: {clips}, each of one class from end to end"
            table(title, ["class", "clips"], [[label, str(count)] for label, count in report["trimmed"].items()])
        else:
            table(f"{report['annotations']}: {clips}, {report['instances']} instances", columns, rows)
        seen, known = report["frames"], report["duration_s"]
        print(f"frames decoded of {seen['decoded']} of {seen['of']} clips")
        if known:
            print(
                f"{known['count']} clips of known length: {known['total']:.1f} s in all, {known['shortest']:.2f} to "
                f"{known['longest']:.2f} s, mean {known['mean']:.2f} s"
            )
        for problem in report["problems"]:
            print(f"problem: {problem}")
        print(f"{len(report['problems'])} problems" if report["problems"] else "no problem found")
        if picture:
            print(f"picture: {picture}")
    if report["problems"]:
        raise typer.Exit(1)


@dataset_app.command()
def convert(
    data: DataArg,
    out: Annotated[Path, typer.Argument(help="File to write; a folder for thumos.")],
    to: Annotated[str, typer.Option(help="activitynet, infdet, thumos or label-studio.")],
    classes: ClassesOption = None,
    fps: FpsOption = None,
) -> None:
    """Write the same annotations in another format, and say what that format cannot hold."""
    from infdet_deploy.datasets import command as datasets

    clips, lost = datasets.convert_dataset(data, out, to, class_names(classes), fps)
    print(f"{out}: {clips} clips as {to}")
    for line in lost:
        print(f"not held by this format: {line}")


@dataset_app.command()
def prepare(
    data: DataArg,
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet (the paper's).")] = "tiny",
    workers: Annotated[int | None, typer.Option(help="Processes [default: one a CPU].")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Also the features of this checkpoint's infrared tower, for --freeze-towers.")
    ] = None,
) -> None:
    """Decode, resize and compute TV-L1 flow of all clips into DATA/.cache, which training then reads.

    Interrupted, it goes on where it stopped; clips that are ready are not made again.
    """
    from infdet_deploy.training.prepare import PrepareOptions, prepare_dataset

    with progress("") as update:
        result = prepare_dataset(data, PrepareOptions(preset, weights, workers), update)
    print(
        f"{data}: {result.made} clips prepared, {result.ready} were ready; {result.size_bytes / 1e6:.1f} MB in .cache/"
    )
    print(f"next: infdet-deploy train --data {data} --preset {preset}")

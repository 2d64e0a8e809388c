"""`dataset synth`, `check`, `convert` and `prepare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from infdet_deploy.cli.app import ClassesOption, DataArg, FpsOption, JsonFlag, PictureOption, class_names, dataset_app
from infdet_deploy.cli.train import PresetOption, Streams
from infdet_deploy.console import print_json, progress, say, table
from infdet_deploy.text import visible

if TYPE_CHECKING:
    from infdet_deploy.datasets.checks import DatasetReport

# `FormatName` of datasets/formats, which would import numpy for --help
FormatName = Literal["activitynet", "infdet", "thumos", "label-studio"]
View = Literal["side", "varied", "ceiling"]


@dataset_app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    clips: Annotated[int, typer.Option(help="Number of clips; a quarter of them is for testing.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same frames.")] = 0,
    view: Annotated[
        View,
        typer.Option(
            help="side: videos of people who drop, fight and hug; varied: the same, seen by 20 kinds of cameras; "
            "ceiling: thermal arrays of falls."
        ),
    ] = "side",
) -> None:
    """Make a synthetic data set with annotations: thermal videos, or thermal arrays from a ceiling.

    Varied cameras look from the side or from above, near or far, over cold or warm ground, with 80×60 to 640×512
    pixels; every fourth clip has no action. From a ceiling, people fall, sit down and stand up, in 16×16 pixels at 9
    frames/s.
    """
    if view == "ceiling":
        from infdet_deploy.synthetic.ceiling import CeilingOptions, synthesize_ceiling

        with progress("synthesize") as update:
            synthesize_ceiling(out, CeilingOptions(clips, seed), update)
        print(f"{out}: {clips} recordings in videos/, annotations.json")
        print(f"next: infdet-deploy train --data {out} --preset array --streams infrared")
        return
    from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize

    varied = view == "varied"
    with progress("synthesize") as update:
        synthesize(out, SynthesizeOptions(clips, seed, quiet=varied, varied=varied), update)
    print(f"{out}: {clips} clips in videos/, annotations.json")
    print(f"next: infdet-deploy train --data {out}")


@dataset_app.command()
def check(
    data: DataArg,
    classes: ClassesOption = None,
    fps: FpsOption = None,
    picture: PictureOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Read all annotations, decode all frames, and list the contents and problems of the data set.

    The exit status is 1 if there is any problem.
    """
    from infdet_deploy.datasets.checks import check_dataset
    from infdet_deploy.plots.dataset import draw_dataset

    with progress("decode") as update:
        report = check_dataset(data, class_names(classes), fps, update)
    if picture is not None:
        if picture.suffix == ".png":
            say(f"note: --picture names a folder; {picture} as a file works for one more release")
        else:
            picture /= "dataset.png"
        draw_dataset(picture, report.dataset, report.decoded_s)
    if json_output:
        print_json(report.to_dict())
    else:
        _print_report(report)
        if picture is not None:
            print(f"picture: {picture}")
    if report.problems:
        raise typer.Exit(1)


def _print_report(report: "DatasetReport") -> None:
    subsets = ", ".join(f"{count} {name}" for name, count in report.subsets.items() if name != "None")
    clips = f"{report.clips} clips{f' ({subsets})' if subsets else ''}"
    if any(report.trimmed.values()):
        title = f"{report.annotations}: {clips}, each of one class from start to end"
        table(title, ["class", "clips"], [[label, str(count)] for label, count in report.trimmed.items()])
    else:
        rows = []
        for label, counts in report.lengths.items():
            of = report.length_s[label]
            spread = (0.0, 0.0, 0.0) if of is None else (of.mean, of.shortest, of.longest)
            rows.append([label, *map(str, (*counts, sum(counts))), *(f"{value:.2f}" for value in spread)])
        columns = ["class", "0–5 s", "5–10 s", "from 10 s", "instances", "mean s", "shortest s", "longest s"]
        table(f"{report.annotations}: {clips}, {report.instances} instances", columns, rows)
    print(f"{report.decoded} of {report.clips} clips decode")
    if (known := report.duration_s) is not None:
        print(
            f"{known.count} clips of known length: {known.total:.1f} s in all, {known.shortest:.2f} to "
            f"{known.longest:.2f} s, mean {known.mean:.2f} s"
        )
    for kind, lines in (("note", report.notes), ("problem", report.problems)):
        for line in lines:
            print(f"{kind}: {visible(line)}")
    print(f"{len(report.problems)} problems" if report.problems else "no problem found")


@dataset_app.command()
def convert(
    data: DataArg,
    out: Annotated[Path, typer.Argument(help="File to write; a folder for thumos.")],
    to: Annotated[FormatName, typer.Option(help="Format to write.")],
    classes: ClassesOption = None,
    fps: FpsOption = None,
) -> None:
    """Write the same annotations in another format, and list what that format cannot store."""
    from infdet_deploy.datasets.conversion import convert_dataset

    result = convert_dataset(data, out, to, class_names(classes), fps)
    print(f"{out}: {result.clips} clips as {to}")
    for line in result.lost:
        print(f"not stored by this format: {line}")


@dataset_app.command()
def prepare(
    data: DataArg,
    preset: PresetOption = "small",
    streams: Annotated[Streams | None, typer.Option(help="infrared skips flow, which takes most of the time.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes [default: one per CPU].")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Prepare for the network of this checkpoint; overrides --preset.")
    ] = None,
) -> None:
    """Decode, resize and compute TV-L1 flow of all clips into DATA/.cache, which training then reads.

    An interrupted run continues where it stopped; cached clips are not prepared again.
    """
    from infdet_deploy.training.prepare import PrepareOptions, prepare_dataset

    with progress("prepare") as update:
        result = prepare_dataset(data, PrepareOptions(preset, weights, streams, workers), update)
    size_mb = result.size_bytes / 1e6
    print(f"{data}: {result.made} clips prepared, {result.ready} already cached; {size_mb:.1f} MB in .cache/")
    print(f"next: infdet-deploy train --data {data} --preset {preset}")

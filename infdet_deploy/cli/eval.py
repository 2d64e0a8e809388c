"""`eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from infdet_deploy.cli.app import DataOption, JsonFlag, app
from infdet_deploy.console import print_json, progress, say, table
from infdet_deploy.errors import UsageError
from infdet_deploy.precision import parse_precision
from infdet_deploy.text import visible

if TYPE_CHECKING:
    from infdet_deploy.evaluation.result import DetectionMetrics, Evaluation


@app.command(name="eval", context_settings={"allow_extra_args": True})
def evaluate(
    context: typer.Context,
    subject: Annotated[
        Path,
        typer.Argument(
            metavar="SUBJECT",
            help="Detections (THUMOS text, ActivityNet or `detect` JSON), a run, a checkpoint or a bundle.",
        ),
    ],
    data: DataOption = None,
    subset: Annotated[
        str | None, typer.Option(help="Subset to evaluate on [default: all for detections, else testing].")
    ] = None,
    protocol: Annotated[
        Literal["both", "thumos14", "activitynet"], typer.Option(help="Protocol of mean average precision.")
    ] = "both",
    fit_thresholds: Annotated[
        bool,
        typer.Option("--fit-thresholds", help="First fit thresholds on subset training, and store them in SUBJECT."),
    ] = False,
    backend: Annotated[str | None, typer.Option(help="Backend for a bundle [default: openvino].")] = None,
    precision: Annotated[
        str | None, typer.Option(parser=parse_precision, help="Precision for a bundle [default: float32].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report and pictures into this folder.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Evaluate detections, a checkpoint or a bundle: mean average precision at temporal IoU 0.1 to 0.7, error kinds."""
    from infdet_deploy.evaluation import evaluate as evaluation

    if data is None and len(context.args) == 1:
        data = Path(context.args[0])
        say(f"note: use --data {data}; DATA as an argument works for one more release")
    elif context.args:
        raise UsageError(f"unexpected argument {context.args[-1]}; eval accepts one SUBJECT and --data DIR")
    if data is None:
        raise UsageError("name the data set: --data DIR (for a detection file, an annotation file or folder)")
    options = evaluation.EvaluateOptions(subset, protocol, fit_thresholds, backend, precision, out)
    with progress("") as update:
        result = evaluation.evaluate(subject, data, options, update)
    if json_output:
        print_json(result.to_dict())
        return
    if result.detection is not None:
        _print_detection(result, result.detection)
    else:
        _print_recognition(result)
    if out is not None:
        print(f"report and pictures: {out}")


def _print_detection(result: "Evaluation", found: "DetectionMetrics") -> None:
    clips = f"{result.clips} clips of subset {result.subset}" if result.subset else f"all {result.clips} clips"
    print(f"{visible(result.what)} on {clips}: {found.detections} detections, {found.instances} instances")
    if result.thresholds and (before := result.thresholds_before):
        rows = [[label, f"{before[label]:.3f}", f"{after:.3f}"] for label, after in result.thresholds.items()]
        table(f"\nthresholds, fitted on subset training, stored in {result.what}", ["class", "before", "now"], rows)
    if result.losses is not None:
        print("losses: " + ", ".join(f"{name} {value:.4f}" for name, value in result.losses.items()))
    for name, scores in found.protocols.items():
        rows = [[label, *map(_figure, ap.values())] for label, ap in scores.ap.items()]
        rows.append(["mAP", *map(_figure, scores.map.values())])
        table(f"\n{name}", ["class", *(f"IoU {iou}" for iou in scores.map)], rows)
    for part, counts in (("detections", found.errors.detections), ("instances", found.errors.instances)):
        kinds = list(next(iter(counts.values())))
        rows = [[label, *(str(counts[label][kind]) for kind in kinds)] for label in counts]
        table(f"\n{part} at IoU {found.errors.iou}", ["class", *(k.replace("_", " ") for k in kinds)], rows)


def _print_recognition(result: "Evaluation") -> None:
    found = result.recognition
    assert found is not None
    title = f"{result.what} on {result.clips} clips: accuracy {found.accuracy:.4f}, mAP {found.map:.4f}"
    rows = [[label, _figure(found.ap[label]), *map(str, taken.values())] for label, taken in found.confusion.items()]
    table(title, ["class", "AP", *(f"as {label}" for label in found.confusion)], rows)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

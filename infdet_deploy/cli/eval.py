"""`eval`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command(name="eval")
def evaluate(
    what: Annotated[
        Path,
        typer.Argument(help="Detections (THUMOS text, ActivityNet or `detect` JSON), a run, checkpoint or bundle."),
    ],
    data: Annotated[Path, typer.Argument(help="For detections annotations, a file or folder; else a data set folder.")],
    subset: Annotated[
        str | None, typer.Option(help="Judge these clips [default: all for detections, else testing].")
    ] = None,
    protocol: Annotated[str, typer.Option(help="both, thumos14 or activitynet.")] = "both",
    fit_thresholds: Annotated[
        bool, typer.Option("--fit-thresholds", help="First fit thresholds on subset training, and store them in WHAT.")
    ] = False,
    backend: Annotated[str | None, typer.Option(help="Runs a bundle [default: openvino].")] = None,
    precision: Annotated[str | None, typer.Option(help="One that the bundle holds [default: float32].")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report and pictures into this folder.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Judge detections, a checkpoint or a bundle: mean average precision at temporal IoU 0.1 to 0.5, and each error."""
    from infdet_deploy.evaluation import evaluate as evaluation

    report = evaluation.evaluate(what, data, subset, protocol, fit_thresholds, backend, precision, out)
    if json_output:
        print_json(report)
        return
    if "recognition" in report:
        _print_recognition(report)
        if out is not None:
            print(f"report: {out}")
        return
    clips = (
        f"{report['clips']} clips of subset {report['subset']}" if report["subset"] else f"all {report['clips']} clips"
    )
    print(f"{what} on {clips}: {report['detections']} detections, {report['instances']} instances")
    if fit_thresholds:
        before, after = report["thresholds_before"], report["thresholds"]
        rows = [[label, f"{before[label]:.3f}", f"{after[label]:.3f}"] for label in report["classes"]]
        table(f"\nthresholds, fitted on subset training, stored in {what}", ["class", "before", "now"], rows)
    if "losses" in report:
        print("losses: " + ", ".join(f"{name} {value:.4f}" for name, value in report["losses"].items()))
    for name, result in report["protocols"].items():
        ious = list(result["map"])
        rows = [
            [label, *("–" if ap[iou] is None else f"{ap[iou]:.4f}" for iou in ious)]
            for label, ap in result["ap"].items()
        ]
        rows.append(["mAP", *(f"{result['map'][iou]:.4f}" for iou in ious)])
        table(f"\n{name}", ["class", *(f"IoU {iou}" for iou in ious)], rows)
    for part in ("detections", "instances"):
        counts = report["errors"][part]
        kinds = list(next(iter(counts.values())))
        rows = [[label, *(str(counts[label][kind]) for kind in kinds)] for label in counts]
        table(f"\n{part} at IoU {report['errors']['iou']}", ["class", *(k.replace("_", " ") for k in kinds)], rows)
    if out is not None:
        print(f"report and pictures: {out}")


def _print_recognition(report: dict[str, Any]) -> None:
    found = report["recognition"]
    title = f"{report['what']} on {report['clips']} clips: accuracy {found['accuracy']:.4f}, mAP {found['map']:.4f}"
    rows = [
        [label, "–" if found["ap"][label] is None else f"{found['ap'][label]:.4f}", *map(str, taken.values())]
        for label, taken in found["confusion"].items()
    ]
    table(title, ["class", "AP", *(f"as {label}" for label in found["confusion"])], rows)

"""`eval`, `complexity` and `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command(name="eval")
def evaluate(
    detections: Annotated[Path, typer.Option(help="Detections: THUMOS text, ActivityNet JSON or `detect --json`.")],
    annotations: Annotated[Path, typer.Option(help="Annotations: a folder of class files, or JSON.")],
    protocol: Annotated[str, typer.Option(help="thumos14 or activitynet.")] = "thumos14",
    subset: Annotated[str | None, typer.Option(help="Only clips of this subset (JSON annotations).")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Score detections against annotations: mean average precision at temporal IoU 0.1 to 0.5."""
    from infdet_deploy.commands import evaluation

    result = evaluation.evaluate(detections, annotations, protocol, subset)
    if json_output:
        print_json(result)
        return
    ious = list(result["map"])
    rows = [[label, *(("–" if ap[i] is None else f"{ap[i]:.4f}") for i in ious)] for label, ap in result["ap"].items()]
    rows.append(["mAP", *(f"{result['map'][i]:.4f}" for i in ious)])
    table(f"{protocol}", ["class", *(f"IoU {i}" for i in ious)], rows)


@app.command()
def complexity(
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet.")] = "infdet",
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    json_output: JsonFlag = False,
) -> None:
    """Count parameters and multiply-adds, beside the paper's figures."""
    from infdet_deploy.commands import evaluation

    report = evaluation.complexity(preset, frames)
    if json_output:
        print_json(report)
        return
    rows = [
        [r["name"], f"{r['parameters']:,}", f"{r['multiply_adds'] / 1e9:.2f}", r["published"]] for r in report["stages"]
    ]
    title = f"{preset}, {frames} frames: {report['multiply_adds'] / 1e9:.1f} G multiply-adds"
    table(title, ["part", "parameters", "multiply-adds (G)", "published, 100 frames"], rows, report["notes"])


@app.command()
def doctor(json_output: JsonFlag = False) -> None:
    """Say what this machine can do and what to install for more."""
    from infdet_deploy.doctor import examine

    report = examine()
    if json_output:
        print_json(report)
        return
    machine = report["machine"]
    print(f"infdet-deploy {report['version']}, Python {machine['python']}, {machine['system']}")
    print(
        f"{machine['processor']}, {machine['cores']} cores, {' '.join(machine['features']) or 'no known vector units'}"
    )
    print(f"NVIDIA GPU: {'yes' if machine['nvidia_gpu'] else 'none found'}")
    rows = [
        [n, "ready" if b["available"] else "not installed", ", ".join(b["precisions"])]
        for n, b in report["backends"].items()
    ]
    table("Backends", ["backend", "state", "precisions"], rows)
    rows = [[n, p["version"] or "–", p["purpose"], p["install"] or ""] for n, p in report["packages"].items()]
    table("Packages", ["package", "version", "for", "to install"], rows)

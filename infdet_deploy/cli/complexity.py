"""`complexity`."""

from typing import Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command()
def complexity(
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet.")] = "infdet",
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    json_output: JsonFlag = False,
) -> None:
    """Count parameters and multiply-adds, beside the paper's figures."""
    from infdet_deploy.evaluation import evaluate as evaluation

    report = evaluation.complexity(preset, frames)
    if json_output:
        print_json(report)
        return
    rows = [
        [r["name"], f"{r['parameters']:,}", f"{r['multiply_adds'] / 1e9:.2f}", r["published"]] for r in report["stages"]
    ]
    title = f"{preset}, {frames} frames: {report['multiply_adds'] / 1e9:.1f} G multiply-adds"
    table(title, ["part", "parameters", "multiply-adds (G)", "published, 100 frames"], rows, report["notes"])

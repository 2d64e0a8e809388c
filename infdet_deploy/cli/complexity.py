"""`complexity`."""

from typing import Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command()
def complexity(
    preset: Annotated[str, typer.Option(help="Network size: small, array, tiny or infdet.")] = "infdet",
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    json_output: JsonFlag = False,
) -> None:
    """Count parameters and multiply-adds; compare them with the paper's."""
    from infdet_deploy.model.complexity import complexity as count_complexity

    result = count_complexity(preset, frames)
    if json_output:
        print_json(result.to_dict())
        return
    rows = [
        [s.name, f"{s.parameters:,}", f"{s.multiply_adds / 1e9:.2f}", result.published(s.name)] for s in result.stages
    ]
    title = f"{preset}, {frames} frames: {result.multiply_adds / 1e9:.1f} G multiply-adds"
    table(title, ["part", "parameters", "multiply-adds (G)", "published, 100 frames"], rows, result.notes)

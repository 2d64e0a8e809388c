"""`verify`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command()
def verify(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle [default: newest here].")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A data set whose clips go from end to end, with mAP [default: seeded clips].")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of --data [default: testing, else all].")] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Name the modules at fault in every ONNX stage out of tolerance.")
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Compare with the bundle's golden clip; needs no torch and no data.")
    ] = False,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            help="PRECISION=VALUE, relative L2 of a stage, or PRECISION.scores=VALUE, absolute error of a score, in "
            "the place of the table's; may be repeated."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report as one HTML page.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare a bundle with its network: every stage and whole clips, on every backend here in every precision; exit 1
    when a tolerance is missed."""
    from infdet_deploy.verification import report
    from infdet_deploy.verification import verify as command

    result = command.verify(bundle, data, subset, bisect, self_test, tolerance or [], html)
    if json_output:
        print_json(result.to_json())
    else:
        stages, ends = report.stage_rows(result.stages), report.end_rows(result.end_to_end)
        title = f"{result.bundle.path} against its {result.against}"
        table(f"{title}, stage by stage", report.STAGE_COLUMNS, stages, report.STAGE_NOTE)
        clips = result.data or "seeded clips"
        table(f"\nFrom frames to detections ({clips})", report.END_COLUMNS, ends, report.END_NOTE)
        if any(row.reference_map for row in result.end_to_end):
            table("\nmAP (THUMOS'14)", *report.map_table(result.end_to_end))
        for line in (*result.errors, *result.notes):
            print(line)
        for one in result.bisections or ():
            table(f"\n{one.summary}", report.MODULE_COLUMNS, report.module_rows(one), report.module_note(one))
        if result.bisections == ():
            print("\nnothing to take apart: every ONNX stage is within tolerance")
        failed = sum(row[-1] != "ok" for row in (*stages, *ends))
        print(f"{len(stages) + len(ends) - failed} within tolerance, {failed} out of tolerance")
        if html is not None:
            print(f"page: {html}")
    if not result.passed:
        raise typer.Exit(1)

"""`verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infdet_deploy.cli.app import BundleArg, DataOption, JsonFlag, app
from infdet_deploy.cli.subjects import bundle_path
from infdet_deploy.console import print_json, progress, table

if TYPE_CHECKING:
    from infdet_deploy.verification.result import Verification


@app.command()
def verify(
    bundle: BundleArg = None,
    data: DataOption = None,
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
            metavar="PRECISION[.scores]=VALUE",
            help="Largest relative L2 of a stage or, with .scores, absolute error of a score, instead of the default; "
            "repeatable.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report as one HTML page.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare a bundle with its network, in every precision on every backend here. Exit status 1 if out of tolerance.

    Compares every stage, and whole clips from frames to detections: generated clips or, with --data, those of a data
    set, with mAP.
    """
    from infdet_deploy.bundle.tolerances import parse_tolerances
    from infdet_deploy.verification import verify as verification

    options = verification.VerifyOptions(data, subset, bisect, self_test, parse_tolerances(tolerance or []), html)
    path = bundle_path(bundle)
    with progress("verify") as update:
        result = verification.verify(path, options, update)
    if json_output:
        print_json(result.to_dict())
    else:
        _print(result)
        if html is not None:
            print(f"page: {html}")
    if not result.passed:
        raise typer.Exit(1)


def _print(result: "Verification") -> None:
    from infdet_deploy.verification.report import sections

    tables = sections(result)
    for number, section in enumerate(tables):
        table("\n" * (number > 0) + section.heading, section.columns, section.rows, section.note)
    for line in (*result.errors, *result.notes):
        print(line)
    if result.bisections == ():
        print("\nnothing to bisect: every ONNX stage is within tolerance")
    compared = [row for section in tables[:2] for row in section.rows]
    failed = sum(row[-1] != "ok" for row in compared)
    print(f"{len(compared) - failed} within tolerance, {failed} out of tolerance")

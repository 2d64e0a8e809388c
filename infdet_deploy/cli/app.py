"""The application that the command modules add to, and the arguments they share."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy import __version__

app = typer.Typer(
    name="infdet-deploy",
    help="Infrared temporal action detection: which action happened when, in hours of thermal video.\n\n"
    "Start with nothing at hand: `infdet-deploy train`, `infdet-deploy export --fp16`, "
    "`infdet-deploy bench --frames 100 --runs 100`. With a bundle: `infdet-deploy detect NAME.infdet VIDEO`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
dataset_app = typer.Typer(help="Make, check, convert and prepare data sets.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
DataArg = Annotated[Path, typer.Argument(help="A data set folder, or an annotation file or folder.")]
ClassesOption = Annotated[str | None, typer.Option(help="Comma-separated class names, in order.")]
FpsOption = Annotated[float | None, typer.Option(help="Frame rate, for formats that count frames.")]
ThresholdsOption = Annotated[
    list[str] | None,
    typer.Option(
        help="CLASS=SCORE, or SCORE for all: what counts, in place of the bundle's; may be given several times."
    ),
]
BundleArg = Annotated[Path, typer.Argument(help="A bundle folder, NAME.infdet, written by `export`.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def class_names(text: str | None) -> tuple[str, ...] | None:
    """The names in a comma-separated list; None where there is no list."""
    return tuple(name.strip() for name in text.split(",")) if text else None

"""The application, how it loads its commands, and the options that several commands share."""

import copy
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from infdet_deploy import __version__
from infdet_deploy.console import say, set_quiet
from infdet_deploy.precision import PRECISIONS, parse_precision

# Commands in the order of `--help`; the module of a command has its name, with underscores.
COMMANDS = (
    "train", "export", "detect", "watch", "eval", "verify", "check", "bench", "build", "sign", "import-weights",
    "ablate", "complexity", "dataset", "doctor", "demo",
)  # fmt: skip
QUIET = "quiet"
BUNDLE_THEN = "[BUNDLE] SOURCE..."


class Group(TyperGroup):
    """Lists every command with its whole first sentence, and adds `--quiet` to each."""

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None and not any(option.name == QUIET for option in command.params):
            quiet: Any = next(copy.copy(option) for option in ctx.find_root().command.params if option.name == QUIET)
            quiet.expose_value = False  # its callback does all; the command's function has no such parameter
            command.params.append(quiet)
        return command

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        params: list[Any] = super().get_params(ctx)
        for param in params:
            param.default = False  # all are flags; for a default of None typer would import pydantic, even for help
        return params

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=1000)) for name, command in commands])


class LazyGroup(Group):
    """Imports the module of the command that is run, and of no other."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        self._load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        self._load(*COMMANDS)
        super().format_commands(ctx, formatter)

    def _load(self, *names: str) -> None:
        modules = {name: f"infdet_deploy.cli.{name.replace('-', '_')}" for name in names if name in COMMANDS}
        if any(module not in sys.modules or name not in self.commands for name, module in modules.items()):
            for module in modules.values():
                importlib.import_module(module)
            self.commands.update(typer.main.get_group(app).commands)


class BundleCommand(TyperCommand):
    """A command with `BundleThenArg`: its usage line reads `[OPTIONS] [BUNDLE] SOURCE...`."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [str(self.options_metavar), BUNDLE_THEN]


app = typer.Typer(
    name="infdet-deploy",
    cls=LazyGroup,
    help="Infrared temporal action detection: find actions in thermal video, with class, start and end.\n\n"
    "Without data: `infdet-deploy train`, then `infdet-deploy export --fp16`, then `infdet-deploy bench`. "
    "With a bundle: `infdet-deploy detect NAME.infdet VIDEO`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dataset_app = typer.Typer(cls=Group, help="Make, check, convert and prepare data sets.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _be_quiet(wanted: bool) -> None:
    if wanted:
        set_quiet()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="No progress and no notes on stderr; only errors.")
    ] = False,
) -> None:
    """Options of all commands."""


def renamed(spellings: Mapping[str, str]) -> type[TyperCommand]:
    """A command class that accepts old spellings of options for one release, with a note on stderr.

    spellings: old option → what replaces it, for example {"--backends": "--backend"}.
    Use it as `@app.command(cls=renamed({...}))`.
    """

    class RenamedOptions(TyperCommand):
        def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
            end = args.index("--") if "--" in args else len(args)
            words, notes = [], []
            for word in args[:end]:
                option, equals, value = word.partition("=")
                new = spellings.get(option)
                if new is None:
                    words.append(word)
                    continue
                notes.append(f"note: {option} is now {new}; the next release removes the old spelling")
                words += [f"{new}={value}"] if equals else new.split()
            rest = super().parse_args(ctx, words + args[end:])
            for note in notes:  # after --quiet has been read
                say(note)
            return rest

    return RenamedOptions


_PRECISION_HELP = "|".join(PRECISIONS)
_BACKENDS = "openvino|onnxruntime|torchscript|tensorrt"

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
# Optional: pass it through `subjects.bundle_path`, which finds the newest bundle here and refuses other kinds of paths.
BundleArg = Annotated[
    Path | None, typer.Argument(metavar="BUNDLE", help="Folder NAME.infdet written by `export` [default: newest here].")
]
# For `detect` and `watch`, where more arguments follow: see `subjects.split_bundle`.
BundleThenArg = Annotated[
    list[str],
    typer.Argument(metavar=BUNDLE_THEN, help="Folder NAME.infdet [default: newest here], then recordings or cameras."),
]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data set folder.")]
# Only for `dataset ...`, where the data set is the subject.
DataArg = Annotated[Path, typer.Argument(metavar="DATA", help="Data set folder, or an annotation file or folder.")]
# The runtime refuses unknown names: packages may register more backends.
BackendOption = Annotated[str, typer.Option("--backend", metavar=_BACKENDS, help="Backend that runs the bundle.")]
BackendsOption = Annotated[
    str, typer.Option("--backend", metavar=_BACKENDS, help="Comma-separated backends, or all that are installed.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision", metavar=_PRECISION_HELP, parser=parse_precision, help="Precision; the bundle must contain it."
    ),
]
# Pass the value through `precision.parse_precisions`.
PrecisionsOption = Annotated[
    str, typer.Option("--precision", metavar=_PRECISION_HELP, help="Comma-separated precisions, or all.")
]
PictureOption = Annotated[
    Path | None, typer.Option("--picture", metavar="DIR", help="Write pictures into this folder.")
]
ClassesOption = Annotated[str | None, typer.Option("--classes", help="Comma-separated class names, in order.")]
FpsOption = Annotated[float | None, typer.Option("--fps", help="Frame rate, for formats that count frames.")]
ResampleOption = Annotated[
    bool,
    typer.Option(
        "--resample/--no-resample",
        help="Interpolate recordings to the network's frame rate where it differs by more than a tenth, or is uneven.",
    ),
]
InvertFlag = Annotated[bool, typer.Option("--invert", help="For recordings in which warm is dark (black-hot).")]
StrictFlag = Annotated[bool, typer.Option("--strict", help="Refuse damaged recordings and those that are cut short.")]
ThresholdsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS=SCORE|SCORE",
        help="Score threshold of a class or of all classes, instead of the bundle's; repeatable.",
    ),
]


def class_names(text: str | None) -> tuple[str, ...] | None:
    """The names in a comma-separated list; None where there is no list."""
    return tuple(name.strip() for name in text.split(",")) if text else None

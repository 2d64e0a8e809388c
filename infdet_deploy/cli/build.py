"""`build`."""

import sys
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, PrecisionsOption, app
from infdet_deploy.cli.subjects import bundle_path
from infdet_deploy.console import print_json, progress, table
from infdet_deploy.errors import UsageError
from infdet_deploy.precision import parse_precisions
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions, Target

DEFAULT = BuildOptions()


@app.command()
def build(
    bundle: BundleArg = None,
    target: Annotated[
        Target, typer.Option(help="tensorrt: for this GPU; tensorrt-rtx: for --arch, on any machine.")
    ] = DEFAULT.target,
    arch: Annotated[str | None, typer.Option(help="GPU architectures for tensorrt-rtx: sm86,sm89.")] = None,
    precision: PrecisionsOption = "all",
    frames: Annotated[str, typer.Option(help="MIN,OPT,MAX frames per chunk.")] = ",".join(map(str, DEFAULT.frames)),
    clip_frames: Annotated[
        int, typer.Option(help="Frames of the longest clip; the head sees it whole.")
    ] = DEFAULT.clip_frames,
    memory: Annotated[int | None, typer.Option(help="Scratch memory per layer, in MB.")] = None,
    dla: Annotated[int | None, typer.Option(help="DLA core to use; needs a bundle exported with --conv2d.")] = None,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Let engines run on every GPU from Ampere on.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let engines run on later TensorRT versions.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Build TensorRT engines of a bundle's stages on the device that will run them. Exit status 1 if one is refused."""
    from infdet_deploy.runtime.backends.tensorrt.build import StageBuild
    from infdet_deploy.runtime.backends.tensorrt.build import build as build_engines

    options = BuildOptions(
        target, parse_precisions(precision), _frames(frames), clip_frames, memory, dla,
        hardware_compatible, version_compatible, tuple(dict.fromkeys((arch or "").lower().replace(",", " ").split())),
    )  # fmt: skip

    def row(entry: StageBuild) -> list[str]:
        if entry.record is None:
            return [entry.stage, entry.precision, "refused", "", "", ""]
        return [
            *(entry.stage, entry.precision),
            "reused" if entry.reused else f"{entry.record.build_s:.1f}",
            f"{entry.record.engine_bytes / 1e6:.1f}",
            ", ".join(f"{name} × {count}" for name, count in sorted(entry.record.layers.items())),
            "engine" if entry.record.inspected else "graph",
        ]

    path = bundle_path(bundle)
    with progress("build") as update:
        result = build_engines(path, options, update)
    if json_output:
        print_json(result.to_dict())
    else:
        platform = result.platform
        title = f"{result.engines}: {platform.target} {platform.version}, {platform.gpu}"
        columns = ["stage", "precision", "build s", "engine MB", "layers compute in", "read from"]
        table(title, columns, [row(entry) for entry in result.built])
    for entry in result.refused:
        print(f"infdet-deploy: {entry.stage} {entry.precision}: {entry.error}", file=sys.stderr)
    if result.refused:
        raise typer.Exit(1)


def _frames(text: str) -> tuple[int, int, int]:
    try:
        low, usual, high = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"--frames is {text}; expected MIN,OPT,MAX such as 16,128,384") from None
    return low, usual, high

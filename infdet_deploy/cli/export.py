"""`export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app, renamed
from infdet_deploy.cli.subjects import expect
from infdet_deploy.console import print_json, progress, table
from infdet_deploy.precision import PRECISIONS, parse_precisions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infdet_deploy.exporting.export import ExportedStage


@app.command(cls=renamed({"--stream": "--incremental"}))
def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder, a .safetensors checkpoint or a bundle [default: newest run].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write [default: RUN.infdet here].")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="float16|bfloat16|int8",
            help="Comma-separated precisions to write in addition to float32; int8 needs --calibrate.",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Short for --precision float16.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Short for --precision bfloat16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Short for --precision int8.")] = False,
    incremental: Annotated[
        bool,
        typer.Option(
            "--incremental/--no-incremental", help="Also write the incremental towers, which watch needs, as ONNX."
        ),
    ] = True,
    network: Annotated[
        bool,
        typer.Option(
            "--network", help="Also write all stages as one graph from frames to scores; this stores the weights twice."
        ),
    ] = False,
    conv2d: Annotated[
        bool,
        typer.Option(
            "--conv2d",
            help="Write 3D convolutions and pools as 2D ones over shifted frames, for accelerators without 3D "
            "operators (Jetson's DLA, many NPUs). Scores stay the same.",
        ),
    ] = False,
    winograd: Annotated[
        bool,
        typer.Option(
            "--winograd",
            help="Also write float32 towers with Winograd convolutions, which OpenVINO runs for live video and for "
            "recordings of one length; for networks of the published size on a CPU.",
        ),
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Data set or recordings for calibrating and checking int8, and for float16's ranges."
        ),
    ] = None,
    max_map_drop: Annotated[
        float | None, typer.Option(min=0, help="Points of mAP@0.5 that int8 may lose on --calibrate [default: 1].")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Export a trained network as a bundle: ONNX and TorchScript stages, each compared with the network first."""
    from infdet_deploy.exporting import export as exporting
    from infdet_deploy.exporting.options import ExportOptions

    if run is not None:
        expect(run, "run", "checkpoint", "bundle")
    short = [name for name, wanted in (("float16", fp16), ("bfloat16", bf16), ("int8", int8)) if wanted]
    options = ExportOptions(
        parse_precisions(["float32", *(precision or ()), *short]) or PRECISIONS,
        incremental=incremental,
        whole_network=network,
        conv2d=conv2d,
        winograd=winograd,
        calibrate=calibrate,
        max_map_drop=max_map_drop,
    )
    with progress("export", wanted=not json_output) as update:
        result = exporting.export(run, out, options, update)
    if json_output:
        print_json(result.to_dict())
        return
    rows = [
        [stage.stage, stage.precision]
        + [f"{stage.errors[f]:.1e}" if f in stage.errors else "–" for f in ("onnx", "openvino", "torchscript")]
        + [_computes_in(stage)]
        for stage in result.stages
    ]
    columns = ["stage", "precision", "ONNX", "for OpenVINO", "TorchScript", "convolutions and products compute in"]
    table(str(result.path), columns, rows, "Relative L2 from the network in PyTorch, the largest of the check clips.")
    for backend, check in result.detections.items():
        print(f"int8 on {backend}: {check.summary()}")
    sizes = [entry.bytes for entry in result.bundle.manifest.files.values()]
    print(f"size: {sum(sizes) / 1e6:.1f} MB in {len(sizes)} files")
    print(f"next: infdet-deploy bench {result.path} --frames 100 --runs 100   or   "
          f"infdet-deploy detect {result.path} VIDEO")  # fmt: skip


def _computes_in(stage: "ExportedStage") -> str:
    """A stage's operators by precision, and those of the file for OpenVINO where they differ."""
    texts = {format: _operators(counts) for format, counts in stage.operators.items()}
    onnx, openvino = texts["onnx"], texts.get("openvino", texts["onnx"])
    return onnx if openvino == onnx else f"{onnx}; for OpenVINO {openvino}"


def _operators(counts: "Mapping[str, int]") -> str:
    return ", ".join(f"{precision} × {count}" for precision, count in sorted(counts.items()))

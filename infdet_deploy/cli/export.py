"""`export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command()
def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder or a .safetensors checkpoint [default: newest run].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write [default: RUN.infdet here].")] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also write every stage with float16 weights and arithmetic.")
    ] = False,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="The same in bfloat16, for processors that multiply it (OpenVINO).")
    ] = False,
    network: Annotated[
        bool,
        typer.Option("--network", help="Also write all stages as one graph, frames in and scores out: weights twice."),
    ] = False,
    conv2d: Annotated[
        bool,
        typer.Option(
            "--conv2d",
            help="Write the 3D convolutions and pools as 2D ones over shifted frames, for accelerators without 3D "
            "operators (Jetson's DLA, many NPUs). Scores stay the same.",
        ),
    ] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Also write the towers as steps over a clip still arriving, for watch; as ONNX."),
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write every stage as int8 ONNX; needs --calibrate.")
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Data set or recordings that int8 is calibrated and judged on, for --fp16 too."),
    ] = None,
    max_map_drop: Annotated[
        float | None, typer.Option(min=0, help="Points of mAP@0.5 that int8 may lose on those recordings [default: 1].")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Export a trained network as a bundle: ONNX and TorchScript stages, each compared with the network first."""
    from infdet_deploy.exporting import command as bundles

    wanted = {"float16": fp16, "bfloat16": bf16, "int8": int8}
    precisions = tuple(name for name, asked in wanted.items() if asked)
    bundle = bundles.export(run, out, precisions, network, conv2d, calibrate, max_map_drop, stream)
    manifest, path = bundle.manifest, bundle.path
    if json_output:
        told = ("operators", "parity", "int8", "files")
        print_json({"bundle": str(path), **{key: manifest[key] for key in told if key in manifest}})
        return
    rows = [
        [stage, precision]
        + [f"{entry[form]:.1e}" if form in entry else "–" for form in ("onnx", "openvino", "torchscript")]
        + [_computes_in(entry)]
        for precision, stages in manifest["parity"].items()
        for stage, entry in stages.items()
    ]
    columns = ["stage", "precision", "ONNX", "for OpenVINO", "TorchScript", "convolutions and products compute in"]
    table(str(path), columns, rows, "Relative L2 against the eager network, the worst of the check clips.")
    for backend, result in manifest.get("int8", {}).get("detections", {}).items():
        print(f"int8 on {backend}: {_judgement(result)}")
    print(f"next: infdet-deploy bench {path} --frames 100 --runs 100   or   infdet-deploy detect {path} VIDEO")


def _judgement(result: dict[str, Any]) -> str:
    what = f"{result['missed']} of float32's detections missed, {result['extra']} extra on {result['clips']} clips"
    if "map_int8" in result:
        what = f"mAP@0.5 {100 * result['map_int8']:.2f}, float32 {100 * result['map_float32']:.2f}; {what}"
    return what


def _computes_in(entry: dict[str, Any]) -> str:
    """A stage's operators by type, those of the file for OpenVINO too where they are others."""
    text, openvino = _operators(entry["operators"]), _operators(entry.get("operators_openvino", entry["operators"]))
    return text if openvino == text else f"{text}; for OpenVINO {openvino}"


def _operators(counts: dict[str, int]) -> str:
    return ", ".join(f"{precision} × {count}" for precision, count in sorted(counts.items()))

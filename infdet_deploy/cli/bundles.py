"""`export`, `build`, `detect`, `check` and `sign`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, ThresholdsOption, app
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


@app.command()
def build(
    bundle: BundleArg,
    target: Annotated[str, typer.Option(help="tensorrt (this GPU) or tensorrt-rtx (any machine).")] = "tensorrt",
    arch: Annotated[str | None, typer.Option(help="GPU architectures for tensorrt-rtx: sm86,sm89.")] = None,
    precision: Annotated[str, typer.Option(help="Comma-separated precisions, or all.")] = "all",
    frames: Annotated[str, typer.Option(help="MIN,OPT,MAX frames of a chunk.")] = "16,128,384",
    clip_frames: Annotated[int, typer.Option(help="Frames of the longest clip, which the head sees whole.")] = 32768,
    memory: Annotated[int | None, typer.Option(help="Scratch memory a layer may take, in MB.")] = None,
    dla: Annotated[int | None, typer.Option(help="DLA core to use; not for 3D convolutions.")] = None,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Let engines run on every GPU from Ampere on.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let engines run on later TensorRT versions.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Build TensorRT engines of a bundle's stages, on the device that is to run them; exit 1 when one is refused."""
    from infdet_deploy.runtime.backends.tensorrt import bundle_engines as engines

    report = engines.build(
        bundle, target, arch, precision, frames, clip_frames, memory, dla, hardware_compatible, version_compatible
    )
    failed = [row for row in report["built"] if "error" in row]
    if json_output:
        print_json(report)
    else:
        rows = [
            [row["stage"], row["precision"], "refused", "", "", ""]
            if "error" in row
            else [
                *(row["stage"], row["precision"]),
                "here already" if row["reused"] else f"{row['build_s']:.1f}",
                f"{row['engine_bytes'] / 1e6:.1f}",
                _operators(row["layers"]),
                "engine" if row["inspected"] else "graph",
            ]
            for row in report["built"]
        ]
        title = f"{report['engines']}: {report['target']} {report['version']}, {report['gpu']}"
        columns = ["stage", "precision", "build s", "engine MB", "layers compute in", "says the"]
        table(title, columns, rows)
    for row in failed:
        print(f"infdet-deploy: {row['stage']} {row['precision']}: {row['error']}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command()
def detect(
    bundle: BundleArg,
    videos: Annotated[
        list[Path],
        typer.Argument(help="Video files, folders of images, .cptv, 16-bit TIFF; folders of any of these."),
    ],
    backend: Annotated[str, typer.Option(help="openvino, onnxruntime, torchscript or tensorrt.")] = "openvino",
    precision: Annotated[str, typer.Option(help="A precision that the bundle holds.")] = "float32",
    fps: Annotated[float | None, typer.Option(help="Frames per second, where the recording does not tell.")] = None,
    threshold: ThresholdsOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw frames, scores and detections into this folder.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a result file for each recording into this folder; those finished are left out."),
    ] = None,
    performance: Annotated[
        str, typer.Option(help="latency: chunk after chunk, each on all CPUs; throughput: several at once.")
    ] = "latency",
    jobs: Annotated[int, typer.Option(help="Recordings at once, each in a process with its share of the CPUs.")] = 1,
    json_output: JsonFlag = False,
) -> None:
    """Find actions in recordings of any length: class, start, end, score."""
    from infdet_deploy.archive import detection

    settings = detection.Settings(bundle, backend, precision, fps, picture, performance, tuple(threshold or ()))
    failed, finished, results = [], 0, []
    for result in detection.detect(settings, videos, out, jobs):
        finished += "finished" in result
        results.append(result)
        if "error" in result:
            failed.append(result["error"])
        elif not json_output and "finished" not in result:
            _print_detections(result)
    if json_output:
        report = {"bundle": str(bundle), "backend": backend, "precision": precision, "finished_before": finished}
        print_json({**report, "videos": results})
    elif finished:
        print(f"finished before, left out: {finished} of {len(results)} recordings")
    for error in failed:
        print(f"infdet-deploy: {error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _print_detections(result: dict[str, Any]) -> None:
    title = f"{result['video']}: {result['frames']} frames, {result['duration_s']:.2f} s"
    rows = [[d["label"], f"{d['start_s']:.2f}", f"{d['end_s']:.2f}", f"{d['score']:.3f}"] for d in result["detections"]]
    if rows:
        table(title, ["class", "start (s)", "end (s)", "score"], rows)
    else:
        print(f"{title}: no action found (highest score {result['highest_score']:.3f})")
    if "picture" in result:
        print(f"picture: {result['picture']}")


@app.command()
def check(
    bundle: BundleArg,
    public_key: Annotated[
        Path | None, typer.Option(help="Also check the signature NAME.infdet.sig, by this key (PEM).")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Check that a bundle is whole and unchanged, and signed by whom you trust; exit 1 when it is not."""
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.bundle.signing import check_signature

    loaded = load_bundle(bundle)
    if public_key is not None:
        check_signature(loaded, public_key)
    files = loaded.manifest["files"]
    size = sum(entry["bytes"] for entry in files.values())
    if json_output:
        signed_with = None if public_key is None else str(public_key)
        print_json(
            {"bundle": str(bundle), "passed": True, "files": len(files), "bytes": size, "signed_with": signed_with}
        )
        return
    signature = "signature not checked" if public_key is None else f"signed with the key of {public_key}"
    print(f"{bundle}: whole and unchanged, {len(files)} files, {size / 1e6:.1f} MB; {signature}")


@app.command()
def sign(
    bundle: BundleArg,
    key: Annotated[Path, typer.Option(help="Private elliptic-curve key (PEM, not encrypted).")],
) -> None:
    """Sign a bundle: write NAME.infdet.sig beside it, which `check --public-key` checks."""
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.bundle.signing import sign as write_signature

    print(f"signed: {write_signature(load_bundle(bundle), key)}")

"""`export`, `detect`, `verify` and `bench`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, app
from infdet_deploy.console import print_json, progress, table


@app.command()
def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder or a .safetensors checkpoint [default: newest run].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write [default: RUN.infdet here].")] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also write every stage with float16 weights and arithmetic.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write every stage as int8 ONNX; needs --calibrate.")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Data set or folder of recordings that int8 is calibrated and judged on.")
    ] = None,
    max_map_drop: Annotated[
        float, typer.Option(min=0, help="Points of mAP@0.5 that int8 may lose on those recordings.")
    ] = 1.0,
    json_output: JsonFlag = False,
) -> None:
    """Export a trained network as a bundle: ONNX and TorchScript stages, each compared with the network first."""
    from infdet_deploy.commands import bundles

    bundle = bundles.export(run, out, fp16, int8, calibrate, max_map_drop)
    manifest, path = bundle.manifest, bundle.path
    if json_output:
        report = {"int8": manifest["int8"]} if "int8" in manifest else {}
        print_json({"bundle": str(path), "parity": manifest["parity"], **report, "files": manifest["files"]})
        return
    rows = [
        [stage, precision]
        + [f"{entry[form]:.1e}" if form in entry else "–" for form in ("onnx", "torchscript")]
        + [_operators(entry["operators"])]
        for precision, stages in manifest["parity"].items()
        for stage, entry in stages.items()
    ]
    columns = ["stage", "precision", "ONNX rel. L2", "TorchScript rel. L2", "convolutions and products compute in"]
    table(str(path), columns, rows, "Relative L2 against the eager network, the worst of the check clips.")
    for backend, result in manifest.get("int8", {}).get("detections", {}).items():
        print(f"int8 on {backend}: {_judgement(result)}")
    print(f"next: infdet-deploy bench {path} --frames 100 --runs 100   or   infdet-deploy detect {path} VIDEO")


def _judgement(result: dict[str, Any]) -> str:
    what = f"{result['missed']} of float32's detections missed, {result['extra']} extra on {result['clips']} clips"
    if "map_int8" in result:
        what = f"mAP@0.5 {100 * result['map_int8']:.2f}, float32 {100 * result['map_float32']:.2f}; {what}"
    return what


def _operators(counts: dict[str, int]) -> str:
    return ", ".join(f"{precision} × {count}" for precision, count in sorted(counts.items()))


@app.command()
def detect(
    bundle: BundleArg,
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of images, .cptv or 16-bit TIFF.")],
    backend: Annotated[str, typer.Option(help="openvino, onnxruntime or torchscript.")] = "openvino",
    precision: Annotated[str, typer.Option(help="A precision that the bundle holds.")] = "float32",
    fps: Annotated[float | None, typer.Option(help="Frames per second, where the recording does not tell.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw frames, scores and detections into this folder.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Find actions in recordings: class, start, end, score."""
    from infdet_deploy.commands import bundles

    results = bundles.detect(bundle, videos, backend, precision, fps, picture)
    failed = [result["error"] for result in results if "error" in result]
    found = [result for result in results if "error" not in result]
    if json_output:
        print_json({"bundle": str(bundle), "backend": backend, "precision": precision, "videos": results})
    for result in () if json_output else found:
        title = f"{result['video']}: {result['frames']} frames, {result['duration_s']:.2f} s"
        rows = [
            [d["label"], f"{d['start_s']:.2f}", f"{d['end_s']:.2f}", f"{d['score']:.3f}"] for d in result["detections"]
        ]
        if rows:
            table(title, ["class", "start (s)", "end (s)", "score"], rows)
        else:
            print(f"{title}: no action found (highest score {result['highest_score']:.3f})")
        if "picture" in result:
            print(f"picture: {result['picture']}")
    for error in failed:
        print(f"infdet-deploy: {error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command()
def verify(bundle: BundleArg, json_output: JsonFlag = False) -> None:
    """Compare every stage with the eager network on every backend here; exit 1 when one is out of tolerance."""
    from dataclasses import asdict

    from infdet_deploy.benchmarks import parity
    from infdet_deploy.runtime.bundle import load_bundle

    checked = []
    with progress("verify") as update:
        for result in parity.verify(load_bundle(bundle)):
            checked.append(result)
            update(len(checked), len(checked) + 1, f"{result.backend} {result.stage} {result.precision}")
    failed = sum(not result.passed for result in checked)
    if json_output:
        print_json({"passed": not failed, "stages": [asdict(r) | {"passed": r.passed} for r in checked]})
    else:
        rows = [
            [
                *(r.stage, r.backend, r.precision, str(r.frames)),
                *(f"{r.max_abs:.1e}", f"{r.relative_l2:.1e}", f"{r.cosine:.7f}"),
                "ok" if r.passed else f"over {r.tolerance:.0e}",
            ]
            for r in checked
        ]
        columns = ["stage", "backend", "precision", "frames", "max abs", "rel. L2", "cosine", "verdict"]
        table(str(bundle), columns, rows, "Each stage is fed the eager network's own input to it.")
        print(f"{len(checked) - failed} within tolerance, {failed} out of tolerance")
    if failed:
        raise typer.Exit(1)


@app.command()
def bench(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle [default: newest here, else the paper's network].")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Measure a preset with seeded random weights instead.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    runs: Annotated[int, typer.Option(help="Timed runs of every contender.")] = 100,
    backends: Annotated[str, typer.Option(help="Comma-separated backends, or all.")] = "openvino",
    precision: Annotated[str, typer.Option(help="Comma-separated precisions, or all.")] = "all",
    json_output: JsonFlag = False,
) -> None:
    """Measure speed: whole clips from frames to detections, contenders in alternation, nothing dropped."""
    from infdet_deploy.commands import bundles

    report = bundles.bench(bundle, preset, frames, runs, backends, precision)
    if json_output:
        print_json(report)
        return
    rows = []
    for row in report["contenders"]:
        ms, stages = row["latency_ms"], row["stages_ms"]
        rows.append(
            [f"{row['backend']} {row['precision']}", f"{row['frames_per_s']['median']:.1f}"]
            + [f"{ms[key]:.1f}" for key in ("median", "p90", "p99", "max")]
            + [
                f"{stages[key]:.1f}" if key in stages else "–"
                for key in ("fen", "infrared_tower", "flow_tower", "head")
            ]
            + [f"{row['real_time_factor']:.1f}×"]
        )
    columns = [
        "contender",
        "frames/s",
        "median ms",
        "p90",
        "p99",
        "max",
        "fen",
        "infrared",
        "flow",
        "head",
        "real time",
    ]
    paper = report["paper"]
    table(
        f"{report['bundle']}: {report['frames']} frames, {report['runs']} runs, "
        f"{report['device']}, {report['cores']} cores",
        columns,
        rows,
        f"The paper's figure: {paper['frames_per_s']:.0f} frames/s on {paper['device']}. Real time is 25 frames/s. "
        f"Peak memory {report['peak_memory_mb']:.0f} MB.",
    )

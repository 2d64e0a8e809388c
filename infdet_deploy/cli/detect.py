"""`detect`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, ThresholdsOption, app
from infdet_deploy.console import print_json, table


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

"""`detect`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from infdet_deploy.cli.app import (
    BackendOption,
    BundleCommand,
    BundleThenArg,
    InvertFlag,
    JsonFlag,
    PictureOption,
    PrecisionOption,
    ResampleOption,
    StrictFlag,
    ThresholdsOption,
    app,
)
from infdet_deploy.cli.subjects import recording_paths, split_bundle
from infdet_deploy.console import print_json, progress, table
from infdet_deploy.text import visible

if TYPE_CHECKING:
    from infdet_deploy.archive.results import RecordingResult


@app.command(cls=BundleCommand)
def detect(
    recordings: BundleThenArg,
    backend: BackendOption = "openvino",
    precision: PrecisionOption = "float32",
    fps: Annotated[
        float | None,
        typer.Option(help="Frame rate, instead of the recording's; folders and TIFF carry none [default: 25]."),
    ] = None,
    resample: ResampleOption = True,
    invert: InvertFlag = False,
    strict: StrictFlag = False,
    threshold: ThresholdsOption = None,
    picture: PictureOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a result file for each recording; rerun to resume."),
    ] = None,
    performance: Annotated[
        Literal["latency", "throughput"],
        typer.Option(help="latency: one chunk after another, each on all CPUs; throughput: several at once."),
    ] = "latency",
    jobs: Annotated[int, typer.Option(help="Recordings at once, each in a process with its share of the CPUs.")] = 1,
    json_output: JsonFlag = False,
) -> None:
    """Find actions in recordings of any length: class, start, end and score.

    Recordings: video files, folders of images, .cptv, 16-bit TIFF, or folders of any of these; thermal arrays as
    .npy, .npz or .csv files. An unreadable recording is reported in one line; the rest continue. Of a damaged one, what
    decodes is used; notes say what is left out.
    """
    from infdet_deploy.archive.detect import DetectOptions
    from infdet_deploy.archive.detect import detect as detect_recordings

    bundle, words = split_bundle(recordings, "recording")
    paths = recording_paths(words)
    options = DetectOptions(
        backend=backend,
        precision=precision,
        fps=fps,
        resample=resample,
        invert=invert,
        strict=strict,
        thresholds=tuple(threshold or ()),
        out=out,
        picture=picture,
        performance=performance,
        jobs=jobs,
    )
    results = []
    with progress("detect") as update:
        for result in detect_recordings(bundle, paths, options, update):
            results.append(result)
            if not (json_output or result.error or result.finished):
                _print_detections(result)
    finished = sum(result.finished for result in results)
    if json_output:
        report = {"bundle": str(bundle), "backend": backend, "precision": precision, "finished_before": finished}
        print_json({**report, "videos": [result.to_dict() for result in results]})
    elif finished:
        print(f"finished before, left out: {finished} of {len(results)} recordings")
    errors = [result.error for result in results if result.error]
    for error in errors:
        print(f"infdet-deploy: {visible(error)}", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


def _print_detections(result: "RecordingResult") -> None:
    title = f"{visible(result.name)}: {result.frames} frames, {result.duration_s:.2f} s"
    rows = [[d.label, f"{d.start_s:.2f}", f"{d.end_s:.2f}", f"{d.score:.3f}"] for d in result.detections]
    if rows:
        table(title, ["class", "start (s)", "end (s)", "score"], rows)
    else:
        print(f"{title}: no action found (highest score {result.highest_score:.3f})")
    if result.picture is not None:
        print(f"picture: {visible(str(result.picture))}")

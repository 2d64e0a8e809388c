"""`watch`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import (
    BackendOption,
    BundleCommand,
    BundleThenArg,
    InvertFlag,
    PrecisionOption,
    ResampleOption,
    ThresholdsOption,
    app,
)
from infdet_deploy.cli.subjects import split_bundle
from infdet_deploy.live.options import WatchOptions
from infdet_deploy.text import visible


@app.command(cls=BundleCommand)
def watch(
    sources: BundleThenArg,
    name: Annotated[list[str] | None, typer.Option(help="Name of a source; repeat in the same order.")] = None,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", help="Length of video that the head sees.")
    ] = WatchOptions.window_s,
    every: Annotated[
        int,
        typer.Option(
            metavar="SNIPPETS", help="Snippets of 8 frames between decisions; 0: decide at a file's end, like `detect`."
        ),
    ] = WatchOptions.every,
    backend: BackendOption = WatchOptions.backend,
    precision: PrecisionOption = WatchOptions.precision,
    threshold: ThresholdsOption = None,
    resample: ResampleOption = True,
    invert: InvertFlag = False,
    out: Annotated[Path | None, typer.Option(help="Append events to this file instead of printing them.")] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]; Home Assistant discovers it."
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="POST every event to this http[s] address.")
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="File that queues events for delivery [default: OUT.queue, or in ~/.local/state]."),
    ] = None,
    clips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save a short MP4 of every event in this folder.")
    ] = None,
    clips_max_gb: Annotated[
        float, typer.Option(help="Size beyond which the oldest clips are removed.")
    ] = WatchOptions.clips_max_gb,
    metrics_port: Annotated[int | None, typer.Option(help="Serve /metrics and /healthz on this port.")] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address for --metrics-port; 0.0.0.0 for other machines too.")
    ] = WatchOptions.metrics_host,
) -> None:
    """Watch cameras: print one JSON line for each action, after it ends.

    Sources: rtsp://…, http[s]://…, v4l2:/dev/video0, or files, which play at their own pace.
    The bundle needs incremental towers, which `infdet-deploy export` writes by default.

    One camera, events on the terminal:

        infdet-deploy watch NAME.infdet rtsp://10.0.0.7/stream

    Two cameras, a log, Home Assistant and a clip of every event:

    \b
        infdet-deploy watch NAME.infdet rtsp://10.0.0.7/stream v4l2:/dev/video0 \\
            --name hall --name gate --out events.jsonl \\
            --mqtt mqtt://ha.local --clips clips

    A file, with exactly the actions that `detect` finds:

        infdet-deploy watch NAME.infdet night.mp4 --every 0

    SIGTERM or Ctrl-C: open actions are finalised; queued events are delivered, or kept for the next start.
    """
    from infdet_deploy.live import watch as live
    from infdet_deploy.live.sinks.jsonl import print_event

    bundle, addresses = split_bundle(sources, "source")
    options = WatchOptions(
        names=tuple(name or ()),
        window_s=window,
        every=every,
        backend=backend,
        precision=precision,
        thresholds=tuple(threshold or ()),
        resample=resample,
        invert=invert,
        out=out,
        webhook=webhook,
        mqtt=mqtt,
        queue=queue,
        clips=clips,
        clips_max_gb=clips_max_gb,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
    )
    result = live.watch(bundle, addresses, options, on_event=None if out else print_event)
    failed = [camera for camera in result.cameras if camera.error]
    for camera in failed:
        print(visible(f"infdet-deploy: {camera.name}: {camera.error}"), file=sys.stderr)
    if failed:
        raise typer.Exit(1)

"""`watch`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, ThresholdsOption, app


@app.command()
def watch(
    bundle: BundleArg,
    sources: Annotated[
        list[str],
        typer.Argument(help="rtsp://…, http://…, v4l2:/dev/video0, or files, played at their own pace."),
    ],
    name: Annotated[
        list[str] | None, typer.Option(help="What a source is called; once for each, in the same order.")
    ] = None,
    window: Annotated[float, typer.Option(help="Seconds that the head sees.")] = 120.0,
    every: Annotated[
        int, typer.Option(help="Snippets of 8 frames from one decision to the next; 0: at a file's end.")
    ] = 4,
    backend: Annotated[str, typer.Option(help="openvino, onnxruntime, torchscript or tensorrt.")] = "openvino",
    precision: Annotated[str, typer.Option(help="A precision that the bundle holds.")] = "float32",
    threshold: ThresholdsOption = None,
    out: Annotated[Path | None, typer.Option(help="Append events to this file instead of printing them.")] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX], for Home Assistant too.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="POST every event to this http[s] address.")] = None,
    queue: Annotated[
        Path | None, typer.Option(help="Where events wait for sinks [default: OUT.queue, or the user's state folder].")
    ] = None,
    clips: Annotated[Path | None, typer.Option(help="Save a short MP4 of every event into this folder.")] = None,
    clips_max_gb: Annotated[float, typer.Option(help="The oldest clips make room beyond this.")] = 10.0,
    metrics_port: Annotated[int | None, typer.Option(help="Serve /metrics and /healthz on this port.")] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address that --metrics-port listens at; 0.0.0.0 for other machines too.")
    ] = "127.0.0.1",
) -> None:
    """Watch cameras: one JSON line an action, given once, when it has ended; never revised.

    One camera, events on the terminal:

        infdet-deploy watch tiny-1.infdet rtsp://10.0.0.7/stream

    Two cameras, a log, Home Assistant and a clip of every event:

    \b
        infdet-deploy watch tiny-1.infdet rtsp://10.0.0.7/stream v4l2:/dev/video0 \\
            --name hall --name gate --out events.jsonl \\
            --mqtt mqtt://ha.local --clips clips

    A file, with exactly what `detect` finds in it:

        infdet-deploy watch tiny-1.infdet night.mp4 --every 0

    SIGTERM or Ctrl-C: what has been seen is decided, what waits is delivered or stays in the queue for the next start.
    """
    from infdet_deploy.live import watching as live

    failed = live.watch(
        bundle, sources, name or [], window, every, backend, precision, out, queue, mqtt, webhook, clips,
        clips_max_gb, metrics_port, metrics_host, threshold or (),
    )  # fmt: skip
    for line in failed:
        print(f"infdet-deploy: {line}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)

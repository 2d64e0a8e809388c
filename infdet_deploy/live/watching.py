"""Live detection: sources, network, sinks and a person at the terminal, put together."""

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.console import say
from infdet_deploy.errors import UsageError

if TYPE_CHECKING:
    from infdet_deploy.bundle.loading import Bundle
    from infdet_deploy.live.camera import Camera
    from infdet_deploy.live.sinks.delivery import Sink
    from infdet_deploy.live.sources.source import Source
    from infdet_deploy.live.watch import Watch


def watch(
    bundle: Path,
    sources: list[str],
    names: list[str],
    window_s: float,
    every: int,
    backend: str,
    precision: str,
    out: Path | None,
    queue: Path | None,
    mqtt: str | None,
    webhook: str | None,
    clips: Path | None,
    clips_max_gb: float,
    metrics_port: int | None,
    metrics_host: str = "127.0.0.1",
    thresholds: Sequence[str] = (),
) -> list[str]:
    """Watch sources until all have ended, or SIGTERM or SIGINT comes. Gives what went wrong for good, in lines.

    thresholds: in place of the bundle's, as in `bundle/thresholds.py`.
    """
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.bundle.thresholds import with_thresholds
    from infdet_deploy.live.head import LiveHead
    from infdet_deploy.live.sinks.clips import ClipSaver
    from infdet_deploy.live.sinks.lines import Stdout
    from infdet_deploy.live.sinks.outbox import Outbox
    from infdet_deploy.live.watch import Watch
    from infdet_deploy.runtime.backends.registry import get_backend
    from infdet_deploy.runtime.incremental import StreamModel

    _check(sources, names, window_s, every, clips_max_gb)
    loaded = load_bundle(bundle)
    if loaded.task != "detection":
        raise UsageError(f"{bundle} recognises whole clips, and has no events to give; run `detect` on each clip")
    loaded = with_thresholds(loaded, thresholds)
    get_backend(backend).check_supports(precision)
    with ExitStack() as stack:
        # What can be refused at once comes first; then what takes time.
        opened = stack.enter_context(_open_sources(loaded, sources, names, paced=every > 0))
        sinks = _sinks(loaded, [source.name for source in opened], out, mqtt, webhook)
        outbox = Outbox(queue or _queue(loaded, sources, out, sinks), tuple(s.name for s in sinks)) if sinks else None
        head = LiveHead(loaded, backend, precision, cached=every > 0)  # which runs once with 0, as offline's does
        stack.callback(head.close)
        model = stack.enter_context(StreamModel(loaded, backend, precision))
        saver = None if clips is None else ClipSaver(clips, clips_max_gb)
        running = Watch(outbox, sinks, [] if out else [Stdout().event], saver)
        running.cameras += _cameras(running, loaded, opened, model, head, window_s, every)
        state_mb = sum(camera.state_bytes for camera in running.cameras) / 1e6
        say(f"sources: {len(opened)}, one network for all; state: {state_mb:.1f} MB")
        server = _metrics(running, loaded, metrics_port, metrics_host)
        if server is not None:
            stack.callback(server.close)
        with _stop_signals() as stop, _status_line(running) as update:
            running.start()
            while running.look() and not stop.wait(1.0):
                update()
            for sink, count in running.stop().items():
                say(f"{count} events wait for {sink} in {running.outbox.path}")  # type: ignore[union-attr]
            for camera in running.cameras:
                say(summary(camera))
        return [f"{source.name}: {source.stats.error}" for source in opened if source.stats.error and source.ended]


def _check(sources: Sequence[str], names: Sequence[str], window_s: float, every: int, clips_max_gb: float) -> None:
    if names and len(names) != len(sources):
        raise UsageError(f"{len(sources)} sources but {len(names)} names; give --name once for each, in the same order")
    if not window_s > 0 or every < 0 or not clips_max_gb > 0:
        raise UsageError(
            f"--window is {window_s}, --every {every}, --clips-max-gb {clips_max_gb}; expected more than 0"
        )
    endless = [source for source in sources if "://" in source or source.startswith("v4l2:")]
    if every == 0 and endless:
        raise UsageError(f"--every 0 decides at a file's end, and {endless[0]} has none; leave --every out")


@contextmanager
def _open_sources(
    bundle: "Bundle", sources: Sequence[str], names: Sequence[str], paced: bool
) -> "Iterator[list[Source]]":
    from infdet_deploy.live.sources.source import open_source

    with ExitStack() as stack:
        opened: list[Source] = []
        for index, url in enumerate(sources):
            name = names[index] if names else None
            source = open_source(url, bundle.size, bundle.frame_mode, name, pace="own" if paced else "fast")
            stack.callback(source.close)
            if source.name in (other.name for other in opened):
                raise UsageError(f"two sources are called '{source.name}'; tell them apart with --name")
            opened.append(source)
        yield opened


def _sinks(
    bundle: "Bundle", cameras: list[str], out: Path | None, mqtt: str | None, webhook: str | None
) -> "list[Sink]":
    from infdet_deploy.live.sinks.lines import LinesFile
    from infdet_deploy.live.sinks.mqtt import Mqtt
    from infdet_deploy.live.sinks.webhook import Webhook

    sinks: list[Sink] = []
    if out is not None:
        sinks.append(LinesFile(out))
    if webhook is not None:
        sinks.append(Webhook(webhook))
    if mqtt is not None:
        sinks.append(Mqtt(mqtt, cameras, bundle.classes, bundle.name))
    return sinks


def _queue(bundle: "Bundle", sources: Sequence[str], out: Path | None, sinks: "Sequence[Sink]") -> Path:
    """Where the same command finds its queue again: beside the file of events, else in the user's state folder."""
    if out is not None:
        return out.with_name(f"{out.name}.queue")
    command = "\n".join((bundle.name, *sources, *(sink.name for sink in sinks)))
    root = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "infdet-deploy"
    return root / f"{bundle.name}-{hashlib.sha256(command.encode()).hexdigest()[:12]}.queue"


def _cameras(
    running: "Watch", bundle: "Bundle", sources: "Sequence[Source]", model: Any, head: Any, window_s: float, every: int
) -> "list[Camera]":
    from infdet_deploy.live.camera import Camera
    from infdet_deploy.live.sinks.clips import ClipRing
    from infdet_deploy.live.window import Window

    def new_window() -> Window:
        return Window(head.session(), bundle.classes, bundle.rule, window_s, every)

    rings = [None if running.saver is None else ClipRing(running.saver) for _ in sources]
    return [
        Camera(source, model.stream, new_window, running.emit, bundle.name, ring)
        for source, ring in zip(sources, rings, strict=True)
    ]


def _metrics(running: "Watch", bundle: "Bundle", port: int | None, host: str) -> Any:
    if port is None:
        return None
    from infdet_deploy.live.metrics import Metrics, MetricsServer

    def failures() -> dict[str, int]:
        return {delivery.sink.name: delivery.failures for delivery in running.deliveries}

    waiting = running.outbox.waiting if running.outbox is not None else dict
    metrics = Metrics(running.cameras, bundle.classes, waiting, failures)
    running.listeners.append(metrics.observe)
    server = MetricsServer(metrics, running.cameras, port, host)
    say(f"metrics: http://{host}:{server.port}/metrics, health: /healthz")
    return server


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the second of them ends the process as it always does."""
    stop = threading.Event()

    def handle(number: int, _: Any) -> None:
        say("stopping: deciding what has been seen, delivering what waits; again to stop at once")
        signal.signal(number, before[signal.Signals(number)])
        stop.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _status_line(running: "Watch") -> Iterator[Any]:
    """A line on a terminal that says how every camera is; yields what brings it up to date."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False) as live:
        yield lambda: live.update(Text("\n".join(map(status, running.cameras))), refresh=True)


def status(camera: "Camera") -> str:
    """How a camera is, in a line."""
    stats, lag = camera.source.stats, camera.lag_s
    behind = "" if lag is None else f", {lag:.1f} s behind"
    events = ", ".join(f"{label} × {count}" for label, count in camera.events.items()) or "no events"
    return f"{camera.name}: {stats.state}, {camera.fps:.1f} frames/s{behind}, {stats.dropped} dropped, {events}"


def summary(camera: "Camera") -> str:
    """What a camera has done, in a line."""
    median, late = camera.step_s(50), camera.step_s(99)
    steps = "no step" if median is None or late is None else f"a step took {median:.3f} s, p99 {late:.3f}"
    count = sum(camera.events.values())
    return f"{camera.name}: {camera.processed} frames, {camera.source.stats.dropped} dropped, {count} events; {steps}"

"""`watch`: events of cameras, streams and files as they happen."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.console import say
from infdet_deploy.errors import UsageError
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.clips import ClipBuffer, ClipSaver
from infdet_deploy.live.events import Event
from infdet_deploy.live.options import WatchOptions
from infdet_deploy.live.pipeline import Pipeline
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.base import Sink
from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.source import Source, SourceOptions, open_source
from infdet_deploy.live.terminal import status_lines, stop_signals
from infdet_deploy.live.window import SlidingWindow, Stretch, WholeStretch

if TYPE_CHECKING:
    from infdet_deploy.bundle.loading import Bundle


@dataclass(frozen=True)
class CameraSummary:
    """Statistics of one source.

    Attributes:
        name: the source's name.
        frames: frames processed.
        dropped: frames dropped because the machine was too slow.
        events: events emitted.
        step_median_s, step_p99_s: duration of the latest steps of the network; None without a step.
        error: the reason that a file could not be read to its end.
    """

    name: str
    frames: int
    dropped: int
    events: int
    step_median_s: float | None
    step_p99_s: float | None
    error: str | None = None

    def __str__(self) -> str:
        took = "no step"
        if self.step_median_s is not None:
            took = f"a step took {self.step_median_s:.3f} s, p99 {self.step_p99_s:.3f}"
        return f"{self.name}: {self.frames} frames, {self.dropped} dropped, {self.events} events; {took}"


@dataclass(frozen=True)
class WatchResult:
    """The result of `watch`. undelivered: number of events that wait in the queue for the next start, by sink."""

    cameras: tuple[CameraSummary, ...]
    undelivered: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"cameras": [asdict(camera) for camera in self.cameras], "undelivered": self.undelivered}


def watch(
    bundle: Path | str,
    sources: Sequence[str],
    options: WatchOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
    stop: threading.Event | None = None,
) -> WatchResult:
    """Watch sources until all have ended, `stop` is set, or SIGTERM or SIGINT arrives.

    On a stop, open actions are finalised, clips written and queued events delivered, for at most 40 s.

    Args:
        bundle: a folder NAME.infdet with incremental towers, which `export` writes by default.
        sources: `rtsp://…`, `http[s]://…`, `v4l2:/dev/videoN`, or files, which play at their own pace.
        on_event: called with every event, in its camera's thread.
        stop: set it to stop.

    Returns:
        Statistics of each source, and the number of events that were not delivered.

    Raises:
        UsageError: options or addresses that cannot work. VideoError: a missing file or device.
        BundleError, BackendError: the bundle or the backend cannot be used.
    """
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.bundle.thresholds import with_thresholds
    from infdet_deploy.live.head import LiveHead
    from infdet_deploy.runtime.backends.registry import get_backend
    from infdet_deploy.runtime.incremental import StreamModel

    options, stop = options or WatchOptions(), stop or threading.Event()
    _check_sources(sources, options)
    loaded = load_bundle(bundle)
    if loaded.task != "detection":
        raise UsageError(f"{bundle} recognises whole clips and has no events; run `infdet-deploy detect` on each clip")
    if loaded.incremental is None:
        raise UsageError(
            f"{bundle} contains no incremental towers, which `watch` needs; export it again: infdet-deploy export RUN"
        )
    loaded = with_thresholds(loaded, options.thresholds)
    get_backend(options.backend).check_supports(options.precision)
    with ExitStack() as stack:
        # Fast checks first, then slow loading.
        opened = _open_sources(loaded, sources, options, stack)
        pipeline = _new_pipeline(loaded, sources, [source.name for source in opened], options)
        if on_event is not None:
            pipeline.listeners.append(on_event)
        head = LiveHead(loaded, options.backend, options.precision, cached=options.every > 0)
        stack.callback(head.close)
        model = stack.enter_context(StreamModel(loaded, options.backend, options.precision))

        def new_stretch() -> Stretch:
            if options.every == 0:
                return WholeStretch(head.session(), loaded.classes, loaded.rule)
            return SlidingWindow(head.session(), loaded.classes, loaded.rule, options.window_s, options.every)

        for source in opened:
            clips = None if pipeline.clips is None else ClipBuffer(pipeline.clips)
            pipeline.cameras.append(Camera(source, model.stream, new_stretch, pipeline.emit, loaded.name, clips))
        state_mb = sum(camera.state_bytes for camera in pipeline.cameras) / 1e6
        say(f"sources: {len(opened)}, one network for all; state: {state_mb:.1f} MB")
        if options.metrics_port is not None:
            from infdet_deploy.live.prometheus import MetricsServer

            server = MetricsServer(pipeline, loaded.classes, options.metrics_port, options.metrics_host)
            stack.callback(server.close)
            say(f"metrics: http://{options.metrics_host}:{server.port}/metrics, health: /healthz")
        with stop_signals(stop), status_lines(pipeline.cameras) as show_status:
            pipeline.start()
            while pipeline.update() and not stop.wait(1.0):
                show_status()
            undelivered = pipeline.stop()
        result = WatchResult(tuple(map(_summary, pipeline.cameras)), undelivered)
        for sink, count in undelivered.items():
            say(f"{count} events wait for {sink} in {pipeline.queue and pipeline.queue.path}")
        for camera in result.cameras:
            say(str(camera))
        return result


def _check_sources(sources: Sequence[str], options: WatchOptions) -> None:
    names = options.names
    if names and len(names) != len(sources):
        raise UsageError(f"{len(sources)} sources but {len(names)} names; give --name once for each, in the same order")
    for address in map(Address.of, sources):
        if options.every == 0 and address.kind != "file":
            raise UsageError(f"--every 0 decides at a file's end, and {address.shown} has none; leave --every out")


def _open_sources(bundle: "Bundle", sources: Sequence[str], options: WatchOptions, stack: ExitStack) -> list[Source]:
    opened: list[Source] = []
    for index, url in enumerate(sources):
        name = options.names[index] if options.names else None
        steps = bundle.preparation
        reading = SourceOptions(
            steps.mode,
            steps.levels,
            steps.frame_rate,
            steps.trained_fps if options.resample else None,
            name=name,
            invert=options.invert,
            pace="own" if options.every else "fast",
        )
        source = stack.enter_context(open_source(url, bundle.size, reading))
        if source.name in (other.name for other in opened):
            raise UsageError(f"two sources are called '{source.name}'; give them different names with --name")
        opened.append(source)
    return opened


def _new_pipeline(bundle: "Bundle", sources: Sequence[str], names: Sequence[str], options: WatchOptions) -> Pipeline:
    from infdet_deploy.live.sinks.jsonl import JsonLinesFile
    from infdet_deploy.live.sinks.mqtt import Mqtt
    from infdet_deploy.live.sinks.webhook import Webhook

    sinks: list[Sink] = []
    if options.out is not None:
        sinks.append(JsonLinesFile(options.out))
    if options.webhook is not None:
        sinks.append(Webhook(options.webhook))
    if options.mqtt is not None:
        sinks.append(Mqtt(options.mqtt, names, bundle.classes, bundle.name))
    queue = None
    if sinks:
        path = options.queue or _default_queue(bundle, sources, options.out, sinks)
        queue = EventQueue(path, tuple(sink.name for sink in sinks))
    clips = None if options.clips is None else ClipSaver(options.clips, options.clips_max_gb)
    return Pipeline(queue, sinks, clips)


def _default_queue(bundle: "Bundle", sources: Sequence[str], out: Path | None, sinks: Sequence[Sink]) -> Path:
    """A path at which the same command finds its queue after a restart."""
    if out is not None:
        return out.with_name(f"{out.name}.queue")
    command = "\n".join((bundle.name, *sources, *(sink.name for sink in sinks)))
    root = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "infdet-deploy"
    return root / f"{bundle.name}-{hashlib.sha256(command.encode()).hexdigest()[:12]}.queue"


def _summary(camera: Camera) -> CameraSummary:
    stats, events = camera.source.stats, sum(camera.events.values())
    error = stats.error if stats.state == "ended" else None
    return CameraSummary(
        camera.name, camera.processed, stats.dropped, events, camera.step_s(50), camera.step_s(99), error
    )

"""Prometheus metrics and a health check, served over HTTP."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.server import ThreadingHTTPServer
from io import BytesIO
from math import nan
from typing import TYPE_CHECKING, Any, get_args

from infdet_deploy.errors import UsageError, missing_package, reason
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.pipeline import Pipeline
from infdet_deploy.live.sources.health import State

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

_DELAYS_S = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_QUANTILES = (0.5, 0.99)
_LATE_S = 30.0  # a camera further behind the clock is not healthy
_TIMEOUT_S = 10.0  # for a whole request: slower clients are disconnected
_REQUESTS = 8  # answered at once; more connections are closed

_Table = dict[str, tuple[str, Callable[[Camera], float | None]]]  # name → description, value

_COUNTERS: _Table = {
    "frames": ("Frames received", lambda c: c.source.stats.frames),
    "frames_processed": ("Frames that went through the network", lambda c: c.processed),
    "frames_dropped": ("Frames dropped because the machine is too slow", lambda c: c.source.stats.dropped),
    "restarts": ("Restarts of the decoder", lambda c: c.source.stats.restarts),
    "decode_errors": ("Packets and frames that did not decode", lambda c: c.source.stats.decode_errors),
    "failures": ("Failures of the network", lambda c: c.failures),
    "variants_suppressed": ("Runs that repeated an earlier action", lambda c: c.suppressed),
}
_GAUGES: _Table = {
    "fps": ("Frames per second of the source", lambda c: c.source.stats.fps),
    "processed_fps": ("Frames per second processed", lambda c: c.fps),
    "lag_seconds": ("Seconds since the newest processed frame was shown", lambda c: c.lag_s),
    "state_bytes": ("Memory of the network's state for this camera", lambda c: c.state_bytes),
}


class _Collector:
    """Metrics of cameras and sinks, read when they are scraped."""

    def __init__(self, pipeline: Pipeline, classes: Sequence[str]) -> None:
        self._pipeline, self._classes = pipeline, classes

    def collect(self) -> "Iterator[Metric]":
        """Called by the registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        cameras = self._pipeline.cameras
        for table, family in ((_COUNTERS, CounterMetricFamily), (_GAUGES, GaugeMetricFamily)):
            for name, (text, value) in table.items():
                metric = family(f"infdet_{name}", text, labels=("camera",))
                for camera in cameras:
                    metric.add_metric((camera.name,), _number(value(camera)))
                yield metric
        state = GaugeMetricFamily("infdet_state", "1 for the state of the source", labels=("camera", "state"))
        steps = GaugeMetricFamily("infdet_step_seconds", "Latest steps of the network", labels=("camera", "quantile"))
        events = CounterMetricFamily("infdet_events", "Events emitted", labels=("camera", "class"))
        for camera in cameras:
            for one in get_args(State):
                state.add_metric((camera.name, one), float(camera.source.stats.state == one))
            for quantile in _QUANTILES:
                steps.add_metric((camera.name, f"{quantile:g}"), _number(camera.step_s(100 * quantile)))
            for label in self._classes:
                events.add_metric((camera.name, label), camera.events[label])
        waiting = GaugeMetricFamily("infdet_events_waiting", "Events that a sink has not stored yet", labels=("sink",))
        if self._pipeline.queue is not None:
            for sink, count in self._pipeline.queue.waiting().items():
                waiting.add_metric((sink,), count)
        failures = CounterMetricFamily("infdet_delivery_failures", "Deliveries that failed", labels=("sink",))
        for delivery in self._pipeline.deliveries:
            failures.add_metric((delivery.sink.name,), delivery.failures)
        yield from (state, steps, events, waiting, failures)


def _number(value: float | None) -> float:
    return nan if value is None else value


def health(cameras: Sequence[Camera]) -> dict[str, Any]:
    """{"ok": …, "problems": {camera: reason}}: ok if all cameras send usable pictures, processed within 30 s."""
    problems = {}
    for camera in cameras:
        state, lag = camera.source.stats.state, camera.lag_s
        if state == "ended":
            continue
        if not camera.running:
            problems[camera.name] = "its thread has ended"
        elif state != "ok":
            problems[camera.name] = camera.source.stats.error or state if state == "down" else state
        elif lag is None or lag > _LATE_S:
            problems[camera.name] = "no frame processed yet" if lag is None else f"{lag:.0f} s behind"
    return {"ok": not problems, "problems": problems}


def _registry(pipeline: Pipeline, classes: Sequence[str]) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    name, text = "infdet_decision_delay_seconds", "From an action's end to its event"
    delay = Histogram(name, text, ("camera",), buckets=_DELAYS_S, registry=registry)
    for camera in pipeline.cameras:
        delay.labels(camera.name)
    pipeline.listeners.append(lambda event: delay.labels(event.camera).observe(event.decision_delay_s))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_Collector(pipeline, classes))
    return registry


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it has just been closed
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    """Answers up to `_REQUESTS` requests at once, in threads."""

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(_REQUESTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            super().shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """End a connection in time, also one whose client sends a byte now and then."""
        deadline = threading.Timer(_TIMEOUT_S, _hang_up, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()

    def shutdown_request(self, request: Any) -> None:
        """Called once each accepted request has been answered or has failed."""
        self._free.release()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback, unless the client has disconnected."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class MetricsServer:
    """Serves `/metrics` and `/healthz` (200, or 503 with the problems as JSON) of cameras and sinks, in threads.

    port: 0 for any free port. host: the address to listen at. Raises UsageError when it cannot bind, InfdetError when
    prometheus-client is not installed.
    """

    def __init__(self, pipeline: Pipeline, classes: Sequence[str], port: int, host: str) -> None:
        try:
            from prometheus_client import MetricsHandler
        except ImportError:
            raise missing_package("prometheus-client", "live", "--metrics-port") from None

        class Handler(MetricsHandler):
            registry = _registry(pipeline, classes)
            timeout = _TIMEOUT_S

            def do_GET(self) -> None:
                try:
                    self._respond()
                except (ConnectionError, TimeoutError):
                    raise
                except Exception:
                    self.send_error(500)
                    raise

            def do_HEAD(self) -> None:
                client, answer = self.wfile, BytesIO()
                self.wfile = answer
                try:
                    self.do_GET()
                finally:
                    self.wfile = client
                    head, end, _ = answer.getvalue().partition(b"\r\n\r\n")
                    client.write(head + end)

            def _respond(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    super().do_GET()
                elif path == "/healthz":
                    report = health(pipeline.cameras)
                    self._answer(200 if report["ok"] else 503, "application/json", json.dumps(report) + "\n")
                else:
                    self._answer(404, "text/plain", "/metrics or /healthz\n")

            def send_error(self, code: int, *arguments: Any, **options: Any) -> None:
                if code == 501:  # what the base class sends for a method that it has no function for
                    self._answer(405, "text/plain", "GET or HEAD\n", {"Allow": "GET, HEAD"})
                else:
                    super().send_error(code, *arguments, **options)

            def _answer(self, status: int, kind: str, text: str, headers: Mapping[str, str] | None = None) -> None:
                body = text.encode()
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        try:
            self._server = _Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"--metrics-port: cannot bind port {port} at {host}: {reason(error)}") from None
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

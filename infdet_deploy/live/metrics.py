"""Prometheus metrics and a health endpoint, on one small HTTP server."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from infdet_deploy.errors import UsageError, missing_package
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.events import Event

if TYPE_CHECKING:
    from prometheus_client.core import Metric

STATES = ("starting", "ok", "frozen", "black", "saturated", "down", "ended")
_DELAYS_S = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_QUANTILES = (0.5, 0.99)
LOCAL = "127.0.0.1"
_LATE_S = 30.0  # a camera that is so far behind the clock is not well


class Metrics:
    """What cameras and sinks have done so far, in Prometheus's words. Read when somebody asks; nothing is sampled.

    waiting: events that wait, by sink; failures: failed deliveries, by sink.
    Raises InfdetError where prometheus-client is not installed.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        classes: Sequence[str],
        waiting: Callable[[], Mapping[str, int]],
        failures: Callable[[], Mapping[str, int]],
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
        except ImportError:
            raise missing_package("prometheus-client", "live", "--metrics-port") from None
        self._cameras, self._classes, self._waiting, self._failures = cameras, classes, waiting, failures
        self.registry = CollectorRegistry()
        self._delay = Histogram(
            "infdet_decision_delay_seconds",
            "From an action's end to its event",
            ("camera",),
            buckets=_DELAYS_S,
            registry=self.registry,
        )
        for camera in cameras:
            self._delay.labels(camera.name)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(self)

    def observe(self, event: Event) -> None:
        """Count an event's decision delay."""
        self._delay.labels(event.camera).observe(event.decision_delay_s)

    def collect(self) -> "Iterator[Metric]":
        """Called by the registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counters = {
            "frames": ("Frames received", lambda c: c.source.stats.frames),
            "frames_processed": ("Frames that went through the network", lambda c: c.processed),
            "frames_dropped": ("Frames dropped since the machine is too slow", lambda c: c.source.stats.dropped),
            "restarts": ("Restarts of the decoder", lambda c: c.source.stats.restarts),
            "decode_errors": ("Packets and frames that did not decode", lambda c: c.source.stats.decode_errors),
            "failures": ("Failures of the network", lambda c: c.failures),
            "variants_suppressed": ("Runs that were another look at an event", lambda c: c.suppressed),
        }
        gauges = {
            "fps": ("Frames per second of the source", lambda c: c.source.stats.fps),
            "processed_fps": ("Frames per second processed", lambda c: c.fps),
            "lag_seconds": ("From the newest frame processed until now", lambda c: c.lag_s),
            "state_bytes": ("The network's state, of this camera alone", lambda c: c.state_bytes),
        }
        for table, family in ((counters, CounterMetricFamily), (gauges, GaugeMetricFamily)):
            for name, (text, value) in table.items():
                metric = family(f"infdet_{name}", text, labels=("camera",))
                for camera in self._cameras:
                    metric.add_metric((camera.name,), float("nan") if value(camera) is None else value(camera))
                yield metric
        state = GaugeMetricFamily("infdet_state", "1 for the state that the source is in", labels=("camera", "state"))
        steps = GaugeMetricFamily("infdet_step_seconds", "Latest steps of the network", labels=("camera", "quantile"))
        events = CounterMetricFamily("infdet_events", "Events given", labels=("camera", "class"))
        for camera in self._cameras:
            for one in STATES:
                state.add_metric((camera.name, one), float(camera.source.stats.state == one))
            for quantile in _QUANTILES:
                took = camera.step_s(100 * quantile)
                steps.add_metric((camera.name, f"{quantile:g}"), float("nan") if took is None else took)
            for label in self._classes:
                events.add_metric((camera.name, label), camera.events[label])
        yield from (state, steps, events)
        waiting = GaugeMetricFamily("infdet_events_waiting", "Events that a sink has not taken yet", labels=("sink",))
        failures = CounterMetricFamily("infdet_delivery_failures", "Deliveries that failed", labels=("sink",))
        for metric, values in ((waiting, self._waiting()), (failures, self._failures())):
            for sink, count in values.items():
                metric.add_metric((sink,), count)
            yield metric


def health(cameras: Sequence[Camera]) -> tuple[bool, dict[str, Any]]:
    """Whether all is well, and why not: every camera gives pictures that show something, processed within 30 s."""
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
    return not problems, {"ok": not problems, "problems": problems}


class MetricsServer:
    """`/metrics` and `/healthz` (200, or 503 with what is wrong as JSON) on a port; port 0 takes a free one.

    host: the address to listen at, by default for this machine alone. Raises UsageError when the port cannot be had.
    """

    def __init__(self, metrics: Metrics, cameras: Sequence[Camera], port: int, host: str = LOCAL) -> None:
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds; a client that says nothing does not keep its thread

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
                elif path == "/healthz":
                    well, report = health(cameras)
                    self._answer(200 if well else 503, "application/json", json.dumps(report).encode() + b"\n")
                else:
                    self._answer(404, "text/plain", b"/metrics or /healthz\n")

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"--metrics-port {port} at {host} cannot be had: {getattr(error, 'strerror', error)}"
            ) from None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

"""A camera's thread: frames to events, gaps, failures, stop, health."""

import json
import socket
import struct
import time
import urllib.error
import urllib.request
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import UsageError
from infdet_deploy.live import prometheus
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.events import Event
from infdet_deploy.live.pipeline import Pipeline
from infdet_deploy.live.prometheus import MetricsServer
from infdet_deploy.live.window import SlidingWindow
from tests.live.fakes import FakeSource, FakeStream, frames, head


def camera(source, emit, stream=FakeStream):
    rule = DetectionRule((0.5,), (0.0,))
    return Camera(source, stream, lambda: SlidingWindow(head, ("bright",), rule, 10, 2), emit, "b")


def run(source, stream=FakeStream):
    events = []
    one = camera(source, events.append, stream)
    one.start()
    assert one.join(20)
    assert source.closed
    return one, events


def test_brightness_of_frames_becomes_one_event_a_run():
    """Brightness counts up to 255 and starts again at 0: snippets 16 to 31 of every 32 are bright."""
    one, events = run(FakeSource(frames(600)))
    spans = [(round(e.start - 1000, 2), round(e.end - 1000, 2)) for e in events]
    assert spans == [(5.12, 10.24), (15.36, 20.48)]
    assert len({e.id for e in events}) == 2
    assert one.processed == 600
    assert one.events == {"bright": 2}
    told = events[0].to_dict()
    assert told["class"] == "bright"
    assert told["decision_delay_s"] == pytest.approx(events[0].emitted - events[0].end, abs=1e-3)


def test_a_gap_ends_a_stretch():
    _, events = run(FakeSource(frames(300, gaps=[200])))
    spans = [(round(e.start - 1000, 2), round(e.end - 1000, 2)) for e in events]
    # 200 frames have 24 features; the stretch after the gap begins bright
    assert spans == [(5.12, 24 * 8 / 25), (pytest.approx(18.0), pytest.approx(18 + 56 / 25))]


def test_a_stop_finalises_open_actions():
    events = []
    source = FakeSource(frames(200), ends=False)
    one = camera(source, events.append)
    one.start()
    while one.processed < 200:
        pass
    assert events == []
    one.stop()
    assert one.join(10)
    assert [round(e.end - 1000, 2) for e in events] == [round(24 * 8 / 25, 2)]


def test_a_failure_of_the_network_ends_only_the_stretch():
    class Failing(FakeStream):
        calls = 0

        def push(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
            Failing.calls += 1
            if Failing.calls == 3:
                raise RuntimeError("no memory")
            return super().push(pictures)

    one, events = run(FakeSource(frames(300)), Failing)
    assert one.failures == 1
    assert one.processed == 292
    assert len(events) == 1


def test_metrics_and_health():
    events = []
    one, _ = run(FakeSource(frames(600)))
    pytest.importorskip("prometheus_client")
    pipeline = Pipeline()
    pipeline.cameras.append(one)
    pipeline.queue = SimpleNamespace(waiting=lambda: {"log": 4})
    pipeline.deliveries = [SimpleNamespace(sink=SimpleNamespace(name="log"), failures=2)]
    server = MetricsServer(pipeline, ("bright", "dark"), 0, "127.0.0.1")
    try:
        live = camera(FakeSource([]), events.append)
        pipeline.emit(Event("i", "hall", "bright", 0.9, 1.0, 2.0, 5.5, "b"))
        text = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read().decode()
        for line in (
            'infdet_frames_total{camera="hall"} 600.0',
            'infdet_frames_processed_total{camera="hall"} 600.0',
            'infdet_frames_dropped_total{camera="hall"} 3.0',
            'infdet_state{camera="hall",state="ok"} 1.0',
            'infdet_state_bytes{camera="hall"} 1000.0',
            'infdet_events_total{camera="hall",class="bright"} 2.0',
            'infdet_events_waiting{sink="log"} 4.0',
            'infdet_delivery_failures_total{sink="log"} 2.0',
            'infdet_decision_delay_seconds_bucket{camera="hall",le="3.0"} 0.0',
            'infdet_decision_delay_seconds_bucket{camera="hall",le="5.0"} 1.0',
        ):
            assert line in text.splitlines()
        took = dict(line.split() for line in text.splitlines() if line.startswith("infdet_step_seconds"))
        assert 0 < float(took['infdet_step_seconds{camera="hall",quantile="0.5"}']) <= one.step_s(99)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz")
        assert refused.value.code == 503
        assert json.loads(refused.value.read())["problems"] == {"hall": "its thread has ended"}
        one.source.stats.state = "ended"
        assert urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz").status == 200
        assert live.lag_s is None
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/other")
        with pytest.raises(UsageError, match=f"cannot bind port {server.port}"):
            MetricsServer(pipeline, (), server.port, "127.0.0.1")
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(9)]
        assert silent[8].recv(1) == b""  # eight clients at once, no more
        for one in silent:
            one.close()
    finally:
        server.close()


def test_slow_clients_do_not_keep_the_metrics_server(monkeypatch, capfd):
    """Each sends a byte in time for ever; the limit is for the whole request."""
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr(prometheus, "_TIMEOUT_S", 1.0)
    pipeline = Pipeline()
    server = MetricsServer(pipeline, (), 0, "127.0.0.1")
    begun = time.monotonic()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
    try:
        while slow and time.monotonic() < begun + 20:
            for client in list(slow):
                try:
                    client.sendall(b"G")
                    client.setblocking(False)
                    gone = client.recv(1) == b""
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                if gone:
                    client.close()
                    slow.remove(client)
            time.sleep(0.1)
        assert not slow
        assert 0.9 < time.monotonic() - begun < 10
        deadline = time.monotonic() + 5
        while True:
            try:
                assert urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz").status == 200
                break
            except (ConnectionError, urllib.error.URLError):  # the eighth thread is about to end
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert capfd.readouterr().err == ""
    finally:
        server.close()


def test_methods_and_errors_of_the_metrics_server(capfd):
    pytest.importorskip("prometheus_client")
    one, _ = run(FakeSource(frames(100)))
    pipeline = Pipeline()
    pipeline.cameras.append(one)
    server = MetricsServer(pipeline, ("bright", "dark"), 0, "127.0.0.1")

    def answer(method, path):
        with socket.create_connection(("127.0.0.1", server.port), 10) as client:
            client.sendall(f"{method} {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
        status, *headers = head.decode().splitlines()
        return int(status.split()[1]), dict(line.split(": ", 1) for line in headers), body

    try:
        status, headers, body = answer("GET", "/healthz")
        assert (status, headers["Content-Length"]) == (503, str(len(body)))
        assert answer("HEAD", "/healthz")[0::2] == (503, b"")
        assert answer("HEAD", "/metrics")[0::2] == (200, b"")
        for method in ("POST", "DELETE", "OPTIONS", "OTHER"):
            status, headers, _ = answer(method, "/metrics")
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
        for request in (b"", b"GET /metrics HTTP/1.0\r\n\r\n", b"GET /met"):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(request)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # with a reset
        time.sleep(0.2)
        assert "Traceback" not in capfd.readouterr().err
        pipeline.cameras.append(None)
        for method, path in product(("GET", "HEAD"), ("/metrics", "/healthz")):
            assert answer(method, path)[0] == 500
        assert "AttributeError" in capfd.readouterr().err
    finally:
        server.close()

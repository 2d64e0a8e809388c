"""Sinks: lines cut anywhere, servers that fail, clips whole and few; every event arrives, with its id."""

import collections
import contextlib
import http.server
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from infdet_deploy.errors import InfdetError, UsageError
from infdet_deploy.live.events import Event
from infdet_deploy.live.sinks.clips import ClipBuffer, ClipSaver, clip_name, write_clip
from infdet_deploy.live.sinks.delivery import Delivery
from infdet_deploy.live.sinks.jsonl import JsonLinesFile, line_of
from infdet_deploy.live.sinks.mqtt import Mqtt, discovery
from infdet_deploy.live.sinks.queue import EventQueue
from infdet_deploy.live.sinks.webhook import Webhook
from tests.live.fakes import EVENT
from tools import watch_kills as kills


def events(count):
    return [EVENT | {"id": f"e{index}"} for index in range(count)]


def until(true, timeout=20.0):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_a_line_cut_at_any_byte_is_repaired(tmp_path):
    first, second, third = events(3)
    whole = line_of(first) + line_of(second)
    path = tmp_path / "log.jsonl"
    for cut in range(len(line_of(first)), len(whole) + 1):
        path.write_bytes(whole[:cut])
        log = JsonLinesFile(path)
        log.deliver(second)  # sent again after the kill
        log.deliver(third)
        assert path.read_bytes() == whole + line_of(third)


def test_outbox_keeps_events_over_a_restart_and_one_process_has_it(tmp_path):
    box = EventQueue(tmp_path / "q", ("a", "b"))
    for event in (*events(3), events(1)[0]):
        box.put(event)
    with pytest.raises(UsageError, match="in use by another"):
        EventQueue(tmp_path / "q", ("a",))
    number, event = box.next("a", 0)
    assert event["id"] == "e0"
    box.done("a", number)
    box.close()
    box = EventQueue(tmp_path / "q", ("a", "b"))
    assert box.waiting() == {"a": 2, "b": 3}
    assert box.next("b", 0)[1]["id"] == "e0"
    box.close()


@contextlib.contextmanager
def server(answers):
    """A web server that answers with these statuses in turn, 200 afterwards; `hang` says nothing. Yields its posts."""
    posts, left = [], answers if isinstance(answers, collections.deque) else collections.deque(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = left.popleft() if left else 200
            posts.append((answer, body["id"], self.headers["Idempotency-Key"]))
            if answer == "hang":
                time.sleep(1.0)
                return
            self.send_response(answer)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{web.server_address[1]}/hook", posts
    finally:
        web.shutdown()
        web.server_close()


def test_a_webhook_that_fails_gets_every_event(tmp_path):
    with server([500, 200, "hang", 302, 503, 404]) as (url, posts):
        log, hook = JsonLinesFile(tmp_path / "log"), Webhook(url, timeout_s=0.3)
        box = EventQueue(tmp_path / "q", (log.name, hook.name))
        deliveries = [Delivery(box, sink, first_wait_s=0.02) for sink in (log, hook)]
        for event in events(4):
            box.put(event)
        until(lambda: not any(box.waiting().values()))
        for delivery in deliveries:
            delivery.begin_close()
        assert all([delivery.close(time.monotonic() + 5) for delivery in deliveries])
        box.close()
    assert [one for status, one, _ in posts if status == 200] == ["e0", "e1", "e2", "e3"]
    assert all(key == one for _, one, key in posts)
    assert [json.loads(line)["id"] for line in (tmp_path / "log").read_text().splitlines()] == ["e0", "e1", "e2", "e3"]
    assert deliveries[1].failures == 5


def test_a_dead_server_leaves_events_for_the_next_start(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hook = Webhook(f"http://127.0.0.1:{port}/")
    box = EventQueue(tmp_path / "q", (hook.name,))
    delivery = Delivery(box, hook, first_wait_s=0.02)
    for event in events(3):
        box.put(event)
    until(lambda: delivery.failures)
    delivery.begin_close()
    assert delivery.close(time.monotonic() + 5)
    assert box.waiting() == {hook.name: 3}
    box.close()


@pytest.mark.parametrize("url", ["ftp://a/b", "http://", "hello"])
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match="--webhook is"):
        Webhook(url)
    with pytest.raises(UsageError, match="--mqtt is"):
        Mqtt(url, ["a"], ["b"], "c")


WRITER = """
import sys
from infdet_deploy.live.sinks.queue import EventQueue
from infdet_deploy.live.sinks.jsonl import JsonLinesFile
from infdet_deploy.live.sinks.delivery import Delivery
log = JsonLinesFile(sys.argv[1] + "/log")
box = EventQueue(sys.argv[1] + "/q", (log.name,))
Delivery(box, log)
print("ready", flush=True)
for index in range(int(sys.argv[2]), 10**6):
    box.put({"id": f"e{index}", "text": "x" * 300})
    print(index, flush=True)
"""


def test_killed_at_any_moment_every_event_is_in_the_log_once(tmp_path):
    rng, put = np.random.default_rng(0), 0
    for _ in range(6):
        line = [sys.executable, "-c", WRITER, str(tmp_path), str(put)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        numbers = process.stdout.read().split("\n")[:-1]
        process.wait()
        put = int(numbers[-1]) + 1 if numbers else put
    log = JsonLinesFile(tmp_path / "log")
    box = EventQueue(tmp_path / "q", (log.name,))
    delivery = Delivery(box, log)
    until(lambda: not any(box.waiting().values()))
    delivery.begin_close()
    delivery.close(time.monotonic() + 5)
    box.close()
    ids = [json.loads(one)["id"] for one in (tmp_path / "log").read_text().splitlines()]
    assert len(ids) == len(set(ids))
    assert set(ids) >= {f"e{index}" for index in range(put)}


def test_watch_killed_at_any_moment_leaves_whole_lines_and_clips(tmp_path):
    lines, clips = kills.run(6, tmp_path, ["tools.watch_kills", "--doubles", str(tmp_path)], longest_s=0.5)
    assert lines >= 6
    assert clips >= 1
    log = JsonLinesFile(tmp_path / kills.LOG)
    box = EventQueue(tmp_path / "queue", (log.name,))
    waiting = box.waiting()[log.name]
    delivery = Delivery(box, log)
    until(lambda: not any(box.waiting().values()))
    delivery.begin_close()
    assert delivery.close(time.monotonic() + 5)
    box.close()
    # an event that was written as the process died waits once more, and is not written again
    assert lines <= len(kills.whole_lines(tmp_path / kills.LOG)) <= lines + waiting


POSTER = """
import sys
from infdet_deploy.live.sinks.delivery import Delivery
from infdet_deploy.live.sinks.queue import EventQueue
from infdet_deploy.live.sinks.webhook import Webhook
hook = Webhook(sys.argv[2])
box = EventQueue(sys.argv[1] + "/q", (hook.name,))
Delivery(box, hook, first_wait_s=0.02)
for index in range(int(sys.argv[3])):
    box.put({"id": f"e{index}"})
print("put", flush=True)
sys.stdin.read()
"""


def test_killed_while_the_server_fails_the_next_start_delivers(tmp_path):
    failing = collections.deque([500] * 10**5)
    with server(failing) as (url, posts):
        line = [sys.executable, "-c", POSTER, str(tmp_path), url]
        for count in ("5", "0"):
            process = subprocess.Popen([*line, count], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert process.stdout.readline() == "put\n"
            if count == "5":
                until(lambda: len(posts) > 2)
            else:
                until(lambda: {one for status, one, _ in posts if status == 200} == {f"e{i}" for i in range(5)})
            process.kill()
            process.communicate()
            failing.clear()
    assert all(key == one for _, one, key in posts)


def event(number=0, start=1000.0, end=1002.0):
    made = Event(f"{number:08d}-x", "hall", "fight", 0.9, start, end, end + 5, "b")
    return Event(**(vars(made) | {"clip": clip_name(made)}))


def test_a_clip_has_its_seconds_and_the_oldest_make_room(tmp_path):
    av = pytest.importorskip("av")
    saver = ClipSaver(tmp_path, max_gb=1e-5)
    (tmp_path / "mine.mp4").write_bytes(bytes(50_000))
    ring = ClipBuffer(saver, before_s=1, after_s=1)
    rng = np.random.default_rng(0)
    for index in range(100):
        ring.add(1000 + index / 25, rng.integers(0, 255, (64, 64), np.uint8))
        if index == 60:
            ring.save(event(0, 1001.0, 1002.0))
    ring.finish()
    until(lambda: saver.saved == 1)
    ring.save(event(1, 1000.0, 1003.0))
    ring.finish()
    saver.close(time.monotonic() + 10)
    assert (saver.saved, saver.lost) == (2, 0)
    left = {path.name for path in tmp_path.iterdir()}
    assert "mine.mp4" in left
    assert sum((tmp_path / name).stat().st_size for name in left - {"mine.mp4"}) <= 10_000
    write_clip(tmp_path / "a.event.mp4", [(1000 + i / 10, np.full((64, 64), 90, np.uint8)) for i in range(31)])
    with av.open(str(tmp_path / "a.event.mp4")) as container:
        shown = list(container.decode(video=0))
        assert len(shown) == 31
        assert shown[-1].time == pytest.approx(3.0, abs=2e-3)
        assert abs(int(shown[3].to_ndarray(format="gray")[5, 5]) - 90) <= 3


def test_discovery_of_a_camera():
    found = discovery("infdet", {"Front door": "Front_door"}, ("drop", "fight"), "b", "infdet/x/availability")
    entity = found["homeassistant/event/infdet_Front_door/action/config"]
    assert entity["event_types"] == ["drop", "fight"]
    assert entity["state_topic"] == "infdet/Front_door/event"
    assert found["homeassistant/binary_sensor/infdet_Front_door/active/config"]["off_delay"] == 30


@contextlib.contextmanager
def broker(folder, *settings, port=None):
    """A mosquitto on a port of its own; yields the port and its process."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    pytest.importorskip("paho.mqtt.client")
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    config = folder / "m.conf"
    config.write_text("\n".join((f"listener {port} 127.0.0.1", *settings, "")))
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield port, process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def listener(port, clean=True):
    """A receiver of everything; yields what it got: topic and payload."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    seen, ready = [], threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=clean)
    client.on_message = lambda _, __, m: seen.append((m.topic, m.payload.decode()))
    client.on_subscribe = lambda *_: ready.set()
    client.reconnect_delay_set(1, 1)
    for _ in range(500):
        with contextlib.suppress(OSError):
            client.connect("127.0.0.1", port)
            break
        time.sleep(0.02)
    client.subscribe("#", qos=1)
    client.loop_start()
    assert ready.wait(20)
    try:
        yield seen
    finally:
        client.disconnect()
        client.loop_stop()


def test_mqtt_delivers_and_tells_availability(tmp_path):
    with broker(tmp_path, "allow_anonymous true") as (port, _), listener(port) as seen:
        sink = Mqtt(f"mqtt://127.0.0.1:{port}", ["hall"], ("drop", "fight"), "b")
        until(sink._connected.is_set)
        for one in (EVENT, EVENT):
            sink.deliver(one)
        sink.camera_available("hall", False)
        until(lambda: ("infdet/hall/availability", "offline") in seen)
        told = [json.loads(payload) for topic, payload in seen if topic == "infdet/hall/event"]
        assert [(one["id"], one["event_type"]) for one in told] == [("a1", "fight")] * 2
        config = json.loads(dict(seen)["homeassistant/event/infdet_hall/action/config"])
        assert config["event_types"] == ["drop", "fight"]
        sink.close()
        until(lambda: seen[-1] == (sink._alive, "offline"))


def test_a_broker_that_dies_and_comes_back_gets_every_event(tmp_path):
    """Each once in the log, at least once at the receiver, with the same id; the broker keeps what its clients miss."""
    keeps = ("persistence true", f"persistence_location {tmp_path}/", "autosave_on_changes true", "autosave_interval 1")
    settings = ("allow_anonymous true", "user root", *keeps)
    with contextlib.ExitStack() as stack:
        port, process = stack.enter_context(broker(tmp_path, *settings))
        seen = stack.enter_context(listener(port, clean=False))
        log, sink = JsonLinesFile(tmp_path / "log"), Mqtt(f"mqtt://127.0.0.1:{port}", ["hall"], ("fight",), "b")
        box = EventQueue(tmp_path / "q", (log.name, sink.name))
        deliveries = [Delivery(box, one, first_wait_s=0.05) for one in (log, sink)]
        given = events(9)
        for event in given[:3]:
            box.put(event)
        until(lambda: not any(box.waiting().values()))
        process.kill()
        process.wait()
        until(lambda: not sink._connected.is_set())
        for event in given[3:6]:
            box.put(event)
        until(lambda: deliveries[1].failures and box.waiting() == {log.name: 0, sink.name: 3})
        stack.enter_context(broker(tmp_path, *settings, port=port))
        for event in given[6:]:
            box.put(event)
        ids = {event["id"] for event in given}
        until(lambda: {json.loads(text)["id"] for topic, text in seen if topic == "infdet/hall/event"} == ids)
        until(lambda: not any(box.waiting().values()))
        for delivery in deliveries:
            delivery.begin_close()
        assert all([delivery.close(time.monotonic() + 5) for delivery in deliveries])
        box.close()
    assert [json.loads(line)["id"] for line in (tmp_path / "log").read_text().splitlines()] == [e["id"] for e in given]


def test_mqtt_over_tls_with_a_password_and_a_certificate(tmp_path, monkeypatch):
    if not (shutil.which("openssl") and shutil.which("mosquitto_passwd")):
        pytest.skip("openssl or mosquitto_passwd is not installed")
    key, cert, words = (tmp_path / name for name in ("key.pem", "cert.pem", "words"))
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *request.split(), "-keyout", key, "-out", cert], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["mosquitto_passwd", "-b", "-c", words, "ann", "p@ss"], check=True, stderr=subprocess.DEVNULL)
    pem = (f"cafile {cert}", f"certfile {cert}", f"keyfile {key}", "require_certificate true")
    settings = ("allow_anonymous false", f"password_file {words}", *pem, "user root")
    with broker(tmp_path, *settings) as (port, _):
        address = f"127.0.0.1:{port}?ca={cert}&cert={cert}&key={key}"
        monkeypatch.setenv("INFDET_MQTT_PASSWORD", "p@ss")
        for user, works in (("ann", True), ("ann:wrong", False)):
            sink = Mqtt(f"mqtts://{user}@{address}", ["hall"], ("fight",), "b")
            assert "ann" not in sink.name
            until(lambda sink=sink: sink._connected.is_set() or sink._refused)
            if works:
                sink.deliver(EVENT)
            else:
                with pytest.raises(InfdetError, match=r"not connected \(Not authorized\)"):
                    sink.deliver(EVENT)
            sink.close()
        sink = Mqtt(f"mqtts://ann@127.0.0.1:{port}", ["hall"], ("fight",), "b")  # the system knows no such authority
        time.sleep(0.5)
        with pytest.raises(InfdetError, match="not connected"):
            sink.deliver(EVENT)
        sink.close()


def test_tls_options_that_are_none(tmp_path):
    pytest.importorskip("paho.mqtt.client")
    (tmp_path / "no.pem").write_text("hello")
    for url, why in (
        ("mqtt://a?ca=x", "is not understood"),
        ("mqtts://a?authority=x", "is not understood"),
        ("mqtts://a?key=x", "is not understood"),
        (f"mqtts://a?ca={tmp_path}/none.pem", "No such file"),
        (f"mqtts://a?ca={tmp_path}/no.pem", "no PEM"),
    ):
        with pytest.raises(UsageError, match=why):
            Mqtt(url, ["hall"], ("fight",), "b")

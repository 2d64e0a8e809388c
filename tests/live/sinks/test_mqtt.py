"""MQTT against a real broker: delivery, availability, discovery, TLS."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time

import pytest

from infdet_deploy.errors import InfdetError, UsageError
from infdet_deploy.live.delivery import Delivery
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.jsonl import JsonLinesFile
from infdet_deploy.live.sinks.mqtt import Mqtt, discovery
from tests.live.fakes import EVENT
from tests.live.test_delivery import events, until


def test_discovery_of_a_camera():
    found = discovery("infdet", ["Front door"], ("drop", "fight"), "b", "infdet/x/availability")
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


def test_wrong_tls_options_are_refused(tmp_path):
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

"""Queue, file and webhook: partial lines, servers that fail, kills; every event arrives, with its id."""

import collections
import contextlib
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from infdet_deploy.errors import InfdetError, UsageError
from infdet_deploy.live.delivery import Delivery
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.jsonl import JsonLinesFile, line_of
from infdet_deploy.live.sinks.mqtt import Mqtt
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


def test_the_queue_keeps_events_over_a_restart_and_only_one_process_opens_it(tmp_path):
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
            self.send_header("Location", self.path.replace("/old", "/services"))
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


@pytest.mark.parametrize("path", ["/old/secret", "/secret"])
def test_a_redirection_shows_no_path(path):
    with server([308]) as (url, _):
        hook = Webhook(url.replace("/hook", path))
        with pytest.raises(InfdetError, match=r"answered 308 .*; redirected to http://127\.0\.0\.1:\d+: ") as error:
            hook.deliver({"id": "e0"})
        assert "secret" not in str(error.value)


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
def test_wrong_addresses_are_refused(url):
    with pytest.raises(UsageError, match="--webhook is"):
        Webhook(url)
    with pytest.raises(UsageError, match="--mqtt is"):
        Mqtt(url, ["a"], ["b"], "c")


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example", "x" * 300])
def test_a_host_that_no_request_can_have_is_refused(host):
    with pytest.raises(UsageError, match="no host can have this name"):
        Webhook(f"https://{host}/secret")


@pytest.mark.parametrize("token", ["two words", "line\n", "ключ", "\r\nX-Injected: 1", ""])
def test_a_token_that_no_header_can_contain_is_refused(monkeypatch, token):
    monkeypatch.setenv("INFDET_WEBHOOK_TOKEN", token)
    if not token:
        Webhook("https://host/x")  # none
        return
    with pytest.raises(UsageError, match="INFDET_WEBHOOK_TOKEN has blanks") as caught:
        Webhook("https://host/x")
    assert token not in str(caught.value)


WRITER = """
import sys
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.jsonl import JsonLinesFile
from infdet_deploy.live.delivery import Delivery
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
from infdet_deploy.live.delivery import Delivery
from infdet_deploy.live.queue import EventQueue
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

"""Progress without a terminal, quiet, and JSON that every program can read."""

import json
import time

from infdet_deploy import console


def test_progress_without_a_terminal_is_lines_at_intervals(capsys, monkeypatch):
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.01)
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.05)
    with console.progress("export") as update:
        update(3, 12, "fen float16")
        time.sleep(0.3)
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "export …"
    assert len(lines) >= 2
    assert all(line.startswith("export fen float16: 3/12, 0:00 elapsed, 0:0") for line in lines)


def test_a_request_that_is_refused_prints_no_progress(capsys, monkeypatch):
    monkeypatch.setattr(console, "FIRST_LINE_S", 10)
    with console.progress("export"):
        pass
    assert capsys.readouterr().err == ""


def test_progress_lines():
    line = console.progress_line
    assert line("export", 3, 12, "fen", 45) == "export fen: 3/12, 0:45 elapsed, 2:15 left"
    assert line("verify", 0, 4, "", 30) == "verify: 0/4, 0:30 elapsed"
    assert line("", 0, 0, "", 3661) == "working: 1:01:01 elapsed"


def test_quiet(capsys, monkeypatch):
    monkeypatch.setenv("INFDET_QUIET", "1")
    with console.progress("export") as update:
        update(1, 2)
    console.say("a note")
    assert capsys.readouterr().err == ""


def test_one_process_of_a_group_shows_progress(capsys):
    with console.progress("train", wanted=False) as update:
        update(1, 2)
    assert capsys.readouterr().err == ""


def test_numbers_that_json_cannot_represent_become_null(capsys):
    console.print_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": {"c": None}}

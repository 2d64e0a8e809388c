"""What all commands share: help, lazy loading, options, one-line errors, exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infdet_deploy.bundle.pretrained import FOLDER
from infdet_deploy.cli.app import COMMANDS
from infdet_deploy.cli.subjects import bundle_path, expect, kind_of, recording_paths, split_bundle
from infdet_deploy.errors import InfdetError, UsageError, exit_status
from infdet_deploy.precision import parse_precision, parse_precisions

DATASET = ("check", "convert", "prepare", "synth")


def run(*arguments, cwd=None):
    line = [sys.executable, "-m", "infdet_deploy", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)


HELP = """
import contextlib, io, json, sys
from infdet_deploy.cli import main
pages = {}
for words in %r:
    sys.argv = ["infdet-deploy", *words, "-h"]
    with contextlib.redirect_stdout(io.StringIO()) as page, contextlib.suppress(SystemExit):
        main()
    pages[" ".join(words)] = page.getvalue()
print(json.dumps({"pages": pages, "modules": sorted(sys.modules)}))
"""


def help_pages(*commands):
    """The help of commands, and the modules that are imported afterwards, from one process."""
    done = subprocess.run([sys.executable, "-c", HELP % (commands,)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return found["pages"], set(found["modules"])


def test_every_command_has_help_without_heavy_imports():
    commands = [(), *((name,) for name in COMMANDS), *(("dataset", name) for name in DATASET)]
    pages, modules = help_pages(*commands)
    for words, page in pages.items():
        assert page.startswith(f"Usage: infdet-deploy{words and ' '}{words}"), words
        assert "--quiet" in page, words
        assert "-h, --help" in page, words
    heavy = {"torch", "numpy", "openvino", "av", "cv2", "onnx", "rich.console", "rich.progress", "pydantic"}
    assert not modules & heavy


def test_only_the_command_that_runs_is_imported():
    _, modules = help_pages(("check",))
    assert [name for name in COMMANDS if f"infdet_deploy.cli.{name.replace('-', '_')}" in modules] == ["check"]


def complete(line):
    """What the shell offers for the last word of a line."""
    code = "import sys; sys.argv = ['infdet-deploy']; from infdet_deploy.cli import main; main()"
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_INFDET_DEPLOY_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)
    return done.stdout.split()


def test_shell_completion():
    assert complete("infdet-deploy d") == ["detect", "dataset", "doctor", "demo"]
    assert complete("infdet-deploy dataset c") == ["check", "convert"]
    assert "--quiet" in complete("infdet-deploy check --")


@pytest.mark.parametrize("words", [(), ("watch",), ("train",)])
def test_help_is_quick(words):
    """0.2 s of processor time, 0.3 s for the list of all commands; other work on the machine may double it."""
    before = os.times()
    result = run(*words, "--help")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert result.returncode == 0
    assert used < 0.6


def test_usage_of_commands_that_accept_a_bundle_and_more():
    assert run("watch", "-h").stdout.splitlines()[0].endswith("watch [OPTIONS] [BUNDLE] SOURCE...")


def test_summaries_in_help_are_not_cut():
    assert "..." not in run("--help").stdout.split("Commands:")[1]


def test_version():
    from infdet_deploy import __version__

    assert run("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("detec",), "no such command 'detec'"),
        (("bench", "--nonsense"), "no such option: --nonsense"),
        (("complexity", "--frames", "many"), "--frames"),
        (("eval", "--protocol"), "requires an argument"),
        (("dataset", "nonsense"), "no such command 'nonsense'"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(words, message):
    result = run(*words)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("infdet-deploy: ")
    assert message in line


def test_exit_status():
    assert [exit_status(error) for error in (UsageError(), InfdetError(), FileNotFoundError(), OSError())] == [
        2,
        1,
        2,
        1,
    ]


OLD = """
import typer
from infdet_deploy.cli.app import app, renamed
@app.command(name="check", cls=renamed({"--backends": "--backend", "--fp16": "--precision float16"}))
def check(backend: str = "x", precision: str = "y", rest: str = "") -> None:
    print(backend, precision, rest)
app(["check", *%r])
"""


@pytest.mark.parametrize(
    ("words", "printed", "notes"),
    [
        (["--backends", "a,b", "--fp16"], "a,b float16 \n", 2),
        (["--backends=a"], "a y \n", 1),
        (["--backend=a", "--rest=--fp16"], "a y --fp16\n", 0),
        (["--backends", "a", "--quiet"], "a y \n", 0),
    ],
)
def test_an_old_spelling_works_with_a_note(words, printed, notes):
    code = "import sys; sys.modules['infdet_deploy.cli.check'] = sys\n" + OLD % words
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == printed
    assert len(result.stderr.splitlines()) == notes
    assert all(" is now " in line for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("text", "precision"),
    [("fp16", "float16"), ("float16", "float16"), ("FP32", "float32"), ("bf16", "bfloat16"), ("int8", "int8")],
)
def test_a_precision_by_any_of_its_names(text, precision):
    assert parse_precision(text) == precision


def test_lists_of_precisions():
    assert parse_precisions("all") is None
    assert parse_precisions("fp16, int8,float16") == ("float16", "int8")
    assert parse_precisions(["fp16", "fp32,int8"]) == ("float16", "float32", "int8")
    for wrong in ("fp8", "", "all,int8", "fp16,"):
        with pytest.raises(UsageError, match="expected float32, bfloat16, float16, int8"):
            parse_precisions(wrong)


@pytest.fixture
def things(tmp_path, monkeypatch):
    """A folder with a thing of each kind, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    for file in ("a.infdet/manifest.json", "run/run.json", "data/annotations.json", "pictures/1.png", "clips/a.txt"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    for file in ("clip.mp4", "w.safetensors", "truth.json", "odd.xyz"):
        (tmp_path / file).touch()
    return tmp_path


def test_kinds_of_paths(things):
    kinds = {path.name: kind_of(path) for path in things.iterdir()}
    assert kinds == {
        "a.infdet": "bundle",
        "run": "run",
        "data": "data set",
        "pictures": "recording",
        "clips": "folder",
        "clip.mp4": "recording",
        "w.safetensors": "checkpoint",
        "truth.json": "annotation file",
        "odd.xyz": "file",
    }
    assert kind_of(things / "missing") is None


def test_a_path_of_another_kind_is_refused(things):
    path = things / "clip.mp4"
    with pytest.raises(UsageError, match=r"clip.mp4 is a recording, not a bundle; a bundle is a folder NAME.infdet"):
        bundle_path(path)
    with pytest.raises(UsageError, match="missing: no such file or folder; expected a run or a checkpoint"):
        expect(things / "missing", "run", "checkpoint")
    assert expect(things / "odd.xyz", "recording") == things / "odd.xyz"
    with pytest.raises(UsageError, match=r"odd\.xyz is a file, not a bundle"):
        bundle_path(things / "odd.xyz")


def test_the_newest_bundle_is_meant_where_none_is_named(things, capsys):
    (things / "b.infdet").mkdir()
    os.utime(things / "b.infdet", (1, 1))
    assert str(bundle_path(None)) == "a.infdet"
    assert capsys.readouterr().err == "note: using a.infdet, the newest bundle here\n"
    assert split_bundle(["clip.mp4"], "recording")[1] == ["clip.mp4"]
    assert str(split_bundle(["b.infdet", "clip.mp4"], "recording")[0]) == "b.infdet"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clip.mp4", "a.infdet"], "a.infdet is a bundle; name it first, before a recording"),
        (["a.infdet"], "name a recording after the bundle"),
        (["run", "clip.mp4"], "run is a run, not a bundle"),
        (["none.infdet", "clip.mp4"], "none.infdet: no such file or folder; expected a bundle"),
        (["clip.mp4", "w.safetensors"], "w.safetensors is a checkpoint, not a recording"),
    ],
)
def test_bundle_and_recordings_that_do_not_fit(things, words, message):
    with pytest.raises(UsageError, match=message):
        split_bundle(words, "recording")


def test_without_a_bundle_here_the_pretrained_one_is_used(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert bundle_path(None) == bundle_path(Path("pretrained")) == FOLDER
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("note: no bundle here, using `pretrained`; ")
    assert second.startswith("note: the pretrained network has seen synthetic scenes only")


def test_a_camera_is_no_recording(things):
    with pytest.raises(UsageError, match="rtsp://x/y is a camera; use `infdet-deploy watch`"):
        recording_paths(["clip.mp4", "rtsp://x/y"])
    with pytest.raises(UsageError, match=r"missing\.mp4: no such file"):
        recording_paths(["missing.mp4"])
    assert [path.name for path in recording_paths(["clip.mp4", "clips", "data"])] == ["clip.mp4", "clips", "data"]

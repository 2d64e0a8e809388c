"""Files and folders are complete or absent after an error, after a kill and on a full disk."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infdet_deploy import files
from infdet_deploy.files import sha256, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_complete(tmp_path):
    file = tmp_path / "new" / "a.json"
    write_json(file, {"b": [1, 2]})
    assert file.read_text() == '{\n  "b": [\n    1,\n    2\n  ]\n}\n'
    assert file.stat().st_mode & 0o777 == 0o644
    assert names(file.parent) == ["a.json"]
    with whole_file(file) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("second")
        assert file.read_text().startswith("{")
    assert file.read_text() == "second"
    assert sha256(file) == "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_permissions_follow_the_umask(tmp_path, umask, file_mode, folder_mode):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", 1)
        with whole_folder(tmp_path / "a.infdet") as temporary:
            (temporary / "part").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == file_mode
    assert (tmp_path / "a.infdet").stat().st_mode & 0o777 == folder_mode


def test_an_error_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, 1)
    with pytest.raises(ValueError), whole_file(file) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ValueError
    with pytest.raises(ValueError):
        write_json(file, float("nan"))
    assert file.read_text() == "1\n"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_replaces_the_old_one(tmp_path, monkeypatch, exchange):
    if not exchange:  # a system without it
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    folder = tmp_path / "a.infdet"
    for content in ("one", "two"):
        with whole_folder(folder) as temporary:
            (temporary / content).write_text(content)
    assert names(folder) == ["two"]
    assert folder.stat().st_mode & 0o777 == 0o755
    with pytest.raises(KeyError), whole_folder(folder) as temporary:  # noqa: PT012
        (temporary / "three").write_text("half")
        raise KeyError
    assert names(folder) == ["two"]
    assert names(tmp_path) == ["a.infdet"]


@pytest.mark.skipif(sys.platform != "linux", reason="swapping two paths in one step needs Linux")
def test_two_folders_are_exchanged_atomically(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert files._exchange(tmp_path / "a", tmp_path / "b")
    assert [names(tmp_path / name) for name in ("a", "b")] == [["b"], ["a"]]
    assert not files._exchange(tmp_path / "a", tmp_path / "missing")


def test_a_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "a.infdet").write_text("mine")
    with pytest.raises(NotADirectoryError), whole_folder(tmp_path / "a.infdet") as temporary:
        (temporary / "x").write_text("x")
    assert (tmp_path / "a.infdet").read_text() == "mine"
    assert names(tmp_path) == ["a.infdet"]


WRITER = """
import sys
from infdet_deploy.files import whole_file, whole_folder
path, kind = sys.argv[1:]
with (whole_file if kind == "file" else whole_folder)(path) as temporary:
    with open(temporary if kind == "file" else temporary / "content", "w") as file:
        file.write("half")
        file.flush()
        print("writing", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_while_writing_keeps_the_old_content(tmp_path, kind):
    path = tmp_path / "a"
    content = path if kind == "file" else path / "content"
    content.parent.mkdir(exist_ok=True)
    content.write_text("old")
    line = [sys.executable, "-c", WRITER, str(path), kind]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert content.read_text() == "old"
    assert all(name == "a" or name.startswith(".a.") for name in names(tmp_path))


def test_only_leftovers_of_killed_writers_are_deleted(tmp_path):
    """Not the folder of a writer that is still at work, nor anything whose name is only similar."""
    path = tmp_path / "a"
    for name in (".a.unfinished-killed01", ".a.unfinished-killed02", ".a.backup", ".b.unfinished-killed01"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("half")
    with whole_folder(path) as working, whole_folder(path) as temporary:
        (working / "content").write_text("first")
        (temporary / "content").write_text("second")
    assert (path / "content").read_text() == "first"
    assert names(tmp_path) == [".a.backup", ".b.unfinished-killed01", "a"]


def test_staging_in_another_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    with whole_file(tmp_path / "inner" / "a.json", staging=tmp_path) as temporary:
        temporary.write_text("1")
        assert temporary.parent == tmp_path
        assert names(tmp_path / "inner") == []
    assert names(tmp_path) == ["inner"]
    assert names(tmp_path / "inner") == ["a.json"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_while_saving_weights_or_a_stage(small_disk, tiny_network, tiny_clip):
    torch = pytest.importorskip("torch")
    from infdet_deploy.exporting.stages.build import build_stage
    from infdet_deploy.exporting.torchscript import export_torchscript
    from infdet_deploy.model.weights import save_network

    with pytest.raises(OSError, match="No space left"):
        save_network(small_disk / "a.safetensors", tiny_network, tiny_network.config)
    stage, example = build_stage("infrared_tower", tiny_network, torch.float32), (torch.from_numpy(tiny_clip(16)),)
    with pytest.raises(OSError, match="No space left"), whole_folder(small_disk / "a.infdet") as folder:
        export_torchscript(stage, example, folder / "stage.pt")
    assert names(small_disk) == []


def test_full_disk_on_the_command_line(small_disk, command):
    result = command("dataset", "synth", small_disk / "data", "--clips", 4)
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith("infdet-deploy: ")
    assert "No space left" in line
    assert names(small_disk) == []

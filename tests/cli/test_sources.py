"""`detect` and `watch`: which words are the bundle, which are recordings or cameras, and what is refused."""

import json
import sys

import pytest

from infdet_deploy.cli.main import main


@pytest.fixture
def run(tmp_path, tiny_bundle, clip_file, monkeypatch, capsys):
    """`run(*words)`: the command line in a folder with a bundle, a clip and a broken clip; (status, stdout, stderr)."""
    (tmp_path / "a.infdet").symlink_to(tiny_bundle, target_is_directory=True)
    (tmp_path / "clip.mkv").symlink_to(clip_file)
    (tmp_path / "broken.mkv").write_text("no video\n")
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["infdet-deploy", *words])
        try:
            main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code or 0
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("detect a.infdet rtsp://host/a", "rtsp://host/a is a camera; use `infdet-deploy watch`"),
        ("detect clip.mkv a.infdet", "a.infdet is a bundle; name it first"),
        ("detect a.infdet none.mkv", "none.mkv: no such file or folder"),
        ("detect a.infdet", "name a recording after the bundle"),
        ("detect a.infdet clip.mkv --precision fp8", "unknown precision 'fp8'; expected float32"),
        ("detect a.infdet clip.mkv --jobs 0", "--jobs is 0"),
        ("watch clip.mkv a.infdet", "a.infdet is a bundle; name it first"),
        ("watch a.infdet", "name a source after the bundle"),
        ("watch a.infdet ftp://host/a --window 0", "--window is 0.0"),
        ("watch a.infdet clip.mkv", "export it again: infdet-deploy export RUN"),
    ],
)
def test_wrong_requests_are_one_line_and_status_2(run, words, message):
    status, out, err = run(*words.split())
    assert (status, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_the_newest_bundle_is_used_when_none_is_named(run):
    status, out, err = run("detect", "clip.mkv", "broken.mkv", "--precision", "fp16", "--json")
    assert status == 1
    assert "note: using a.infdet, the newest bundle here" in err
    assert err.splitlines()[-1].startswith("infdet-deploy: broken.mkv: not a readable video")
    report = json.loads(out)
    assert (report["bundle"], report["precision"]) == ("a.infdet", "float16")
    assert [video.get("frames") for video in report["videos"]] == [60, None]

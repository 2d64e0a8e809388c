"""Many recordings: which there are, which are left out since they are finished, what one bad one costs."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from infdet_deploy.archive import detection
from infdet_deploy.archive.detection import Settings, detect, recordings
from infdet_deploy.errors import UsageError
from tests.video.recordings import write_video


@pytest.fixture
def folder(tmp_path, tiny_clip):
    """Recordings of two cameras, one of them broken, and things that are none."""
    for name in ("a/night.mkv", "b/night.mkv"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        write_video(tmp_path / "in" / name, tiny_clip(40 if name.startswith("a") else 24), "ffv1", "gray")
    (tmp_path / "in/b/broken.mp4").write_text("no video\n")
    (tmp_path / "in/readme.md").write_text("notes\n")
    (tmp_path / "in/.hidden.mkv").write_text("no video\n")
    return tmp_path / "in"


def test_which_recordings_a_folder_holds(folder):
    assert [str(one.result) for one in recordings([folder])] == [
        "a/night.mkv.json", "b/broken.mp4.json", "b/night.mkv.json"
    ]  # fmt: skip
    (folder / "pictures").mkdir()
    (folder / "pictures/1.png").touch()
    assert recordings([folder])[-1].path == folder / "pictures"
    assert [one.path for one in recordings([folder / "pictures", folder / "readme.md"])] == [
        folder / "pictures", folder / "readme.md"
    ]  # fmt: skip
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: no recordings in this folder"):
        recordings([folder / "empty"])


def test_pictures_beside_recordings_belong_to_them(folder):
    (folder / "a/preview.jpg").touch()
    assert [one.path for one in recordings([folder / "a"])] == [folder / "a/night.mkv"]
    assert [str(one.result) for one in recordings([folder])] == [
        "a/night.mkv.json", "b/broken.mp4.json", "b/night.mkv.json"
    ]  # fmt: skip


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_stacks_are_recordings_and_single_pages_pictures(tmp_path, bigtiff, byteorder):
    pages = np.zeros((20, 8, 10), np.uint16)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "singles").mkdir()
    for name in ("1.tif", "2.TIFF"):
        tifffile.imwrite(tmp_path / "stacks" / name, pages, bigtiff=bigtiff, byteorder=byteorder, metadata=None)
        tifffile.imwrite(tmp_path / "singles" / name, pages[0], bigtiff=bigtiff, byteorder=byteorder, metadata=None)
    (tmp_path / "stacks/cut.tif").write_bytes(b"II*\0")
    found = [one.path for one in recordings([tmp_path])]
    assert found == [tmp_path / "singles", tmp_path / "stacks/1.tif", tmp_path / "stacks/2.TIFF"]


def test_finished_recordings_are_left_out(folder, tiny_bundle, tmp_path):
    settings, out = Settings(tiny_bundle, "openvino", "float32", None, None), tmp_path / "out"

    def run(settings=settings):
        found = list(detect(settings, [folder], out))
        assert ["error" in one for one in found].count(True) == 1
        return {one["path"]: one for one in found}, sum("finished" in one for one in found)

    first, finished = run()
    assert finished == 0
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*.*")) == ["a/night.mkv.json", "b/night.mkv.json"]
    second, finished = run()
    assert finished == 2
    assert {path: one | {"finished": True} for path, one in first.items() if "error" not in one} == {
        path: one for path, one in second.items() if "error" not in one
    }
    (content,) = json.loads((out / "a/night.mkv.json").read_text())["videos"]
    assert content["frames"] == 40
    # what is not of this recording, bundle and settings, or not whole, is computed again
    os.utime(folder / "a/night.mkv", (1, 1))
    assert run()[1] == 1
    (out / "b/night.mkv.json").write_text('{"videos": [')
    assert run()[1] == 1
    assert run()[1] == 2
    assert run(Settings(tiny_bundle, "openvino", "float32", 9.0, None))[1] == 0
    assert run(Settings(tiny_bundle, "openvino", "float16", 9.0, None))[1] == 0
    with pytest.raises(UsageError, match=r"would both be written to night\.mkv\.json"):
        list(detect(settings, [folder / "a/night.mkv", folder / "b/night.mkv"], out))


def test_several_at_once_find_the_same(folder, tiny_bundle, command, tmp_path):
    shutil.copy(folder / "b/night.mkv", folder / "b/day.mkv")
    words = ("detect", tiny_bundle, folder, "--json", "--out", tmp_path / "out")
    several = command(*words, "--jobs", 2)
    assert several.returncode == 1
    assert len(several.stderr.strip().splitlines()) == 1
    assert several.stderr.startswith(f"infdet-deploy: {folder}/b/broken.mp4: not a readable video")
    found = {one["path"]: one for one in json.loads(several.stdout)["videos"]}
    settings = Settings(tiny_bundle, "openvino", "float32", None, None)
    for one in detect(settings, [folder]):
        assert one.get("error") == found[one["path"]].get("error")
        assert one.get("frames") == found[one["path"]].get("frames")
        assert len(one.get("detections", ())) == len(found[one["path"]].get("detections", ()))
    again = command(*words[:3], *words[4:])
    assert "finished before, left out: 3 of 4 recordings" in again.stdout
    refused = command(*words, "--jobs", 0)
    assert refused.returncode == 2
    assert "--jobs is 0" in refused.stderr


@pytest.mark.parametrize(
    ("fps", "trained", "noted"),
    [(18, 12.5, False), (25, 12.5, True), (8, 12.5, True), (8.5, 12.5, False), (1, None, False)],
)
def test_a_frame_rate_far_from_what_was_trained_is_noted(fps, trained, noted, capsys):
    detection._compare_rates(SimpleNamespace(name="night", fps=fps), trained)
    said = capsys.readouterr().err
    assert (f"night: {fps} frames/s, but the network was trained at 12.5" in said) == noted
    assert bool(said) == noted

"""Many recordings: which paths mean, which were finished before, one unreadable recording among others."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from infdet_deploy.archive import jobs
from infdet_deploy.archive.detect import DetectOptions, detect
from infdet_deploy.archive.recordings import find_recordings
from infdet_deploy.archive.results import RecordingResult
from infdet_deploy.detections import Detection
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


def test_which_recordings_a_folder_contains(folder):
    assert [str(one.result) for one in find_recordings([folder])] == [
        "a/night.mkv.json", "b/broken.mp4.json", "b/night.mkv.json"
    ]  # fmt: skip
    (folder / "pictures").mkdir()
    (folder / "pictures/1.png").touch()
    assert find_recordings([folder])[-1].path == folder / "pictures"
    assert [one.path for one in find_recordings([folder / "pictures", folder / "readme.md"])] == [
        folder / "pictures", folder / "readme.md"
    ]  # fmt: skip
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: no recordings in this folder"):
        find_recordings([folder / "empty"])


def test_pictures_next_to_recordings_are_no_clip(folder):
    (folder / "a/preview.jpg").touch()
    assert [one.path for one in find_recordings([folder / "a"])] == [folder / "a/night.mkv"]
    assert [str(one.result) for one in find_recordings([folder])] == [
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
    found = [one.path for one in find_recordings([tmp_path])]
    assert found == [tmp_path / "singles", tmp_path / "stacks/1.tif", tmp_path / "stacks/2.TIFF"]


def test_names_follow_from_the_path_in_the_folder(tmp_path):
    for file in ("in/cam1/05.12.mp4", "in/cam2/05.12.mp4", "in/cam2/05.12.avi", "other/cam1/05.12.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_recordings([tmp_path / "in", tmp_path / "in/cam1/05.12.mp4"], own_files=True)
    assert [(one.name, str(one.result)) for one in found] == [
        ("cam1/05.12", "cam1/05.12.mp4.json"),
        ("cam2/05.12.avi", "cam2/05.12.avi.json"),
        ("cam2/05.12.mp4", "cam2/05.12.mp4.json"),
    ]
    (single,) = find_recordings([tmp_path / "in/cam1/05.12.mp4"])
    assert (single.name, str(single.result)) == ("05.12", "05.12.mp4.json")
    files = [tmp_path / "in/cam1/05.12.mp4", tmp_path / "in/cam2/05.12.mp4"]
    assert [one.name for one in find_recordings(files)] == list(map(str, files))
    folders = [tmp_path / "in", tmp_path / "other"]
    assert len({one.name for one in find_recordings(folders)}) == 4
    for paths in (files, folders):
        with pytest.raises(UsageError, match=r"05\.12\.mp4 and \S+05\.12\.mp4 would both be written to"):
            detect("a.infdet", paths, DetectOptions(picture=tmp_path / "pictures"))


def test_links_are_followed_once_and_what_is_left_out_is_told(tmp_path, capsys):
    disk = tmp_path / "disk"
    files = ("a/x.mp4", "b.264", "c.dav", "e.GIF", "g.mjpeg", "h.m3u8", "h1.ts", "i.xyz", "j.jpg", "x.srt", "log")
    for file in (*(disk / name for name in files), tmp_path / "outside/y.flv"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (disk / "h.m3u8").write_text("#EXTM3U\n#EXTINF:4,\nh1.ts\n")
    (disk / "a/loop").symlink_to("..")
    (disk / "again").symlink_to("a")
    (disk / "link").symlink_to("../outside")
    (disk / "link2").symlink_to("../outside")
    (disk / "broken").symlink_to("nowhere")
    found = [one.name for one in find_recordings([disk])]
    assert found == ["a/x", "b", "c", "e", "g", "h", "link/y"]
    assert capsys.readouterr().err == (
        f"note: {disk}: 3 files left out: .xyz, .jpg, without suffix; name a file to use it\n"
    )
    (disk / "h.m3u8").write_bytes(b"\0\xff" * 20)  # no playlist
    assert "h1" in [one.name for one in find_recordings([disk])]


def test_a_camera_s_password_is_not_shown():
    with pytest.raises(UsageError, match="rtsp://host/a is a camera"):
        find_recordings(["rtsp://user:secret@host/a"])
    with pytest.raises(UsageError, match="…: no such file"):
        find_recordings(["user:secret@host/a"])


def test_missing_paths_and_cameras_are_refused_before_anything_is_computed(folder):
    with pytest.raises(UsageError, match=r"none\.mkv: no such file or folder"):
        detect("a.infdet", [folder, "none.mkv"])
    for camera in ("rtsp://host/a", "v4l2:/dev/video9"):
        with pytest.raises(UsageError, match=f"{camera} is a camera, .* use: infdet-deploy watch BUNDLE {camera}"):
            detect("a.infdet", [camera])


def test_finished_recordings_are_not_computed_again(folder, tiny_bundle, tmp_path):
    out = tmp_path / "out"

    def run(**changes):
        found = list(detect(tiny_bundle, [folder], DetectOptions(out=out, **changes)))
        assert [one.error is not None for one in found].count(True) == 1
        return {one.path: one for one in found}, sum(one.finished for one in found)

    first, finished = run()
    assert finished == 0
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*.*")) == ["a/night.mkv.json", "b/night.mkv.json"]
    second, finished = run()
    assert finished == 2
    assert {path: dataclasses.replace(one, finished=True) for path, one in first.items() if one.error is None} == {
        path: one for path, one in second.items() if one.error is None
    }
    (content,) = json.loads((out / "a/night.mkv.json").read_text())["videos"]
    assert content["frames"] == 40
    # a changed recording, a damaged file, other options: computed again
    os.utime(folder / "a/night.mkv", (1, 1))
    assert run()[1] == 1
    (out / "b/night.mkv.json").write_text('{"videos": [')
    assert run()[1] == 1
    assert run()[1] == 2
    assert run(fps=9.0)[1] == 0
    assert run(fps=9.0, precision="float16")[1] == 0
    with pytest.raises(UsageError, match=r"would both be written to night\.mkv\.json"):
        detect(tiny_bundle, [folder / "a/night.mkv", folder / "b/night.mkv"], DetectOptions(out=out))


def test_a_result_as_json():
    result = RecordingResult(
        Path("in/a.mkv"), "a", 40, 25.0, 1.6, 0.9, (Detection("drop", 0.0, 1.0, 0.9),), Path("a.png"), finished=True
    )
    assert result.to_dict() == {
        "video": "a", "path": "in/a.mkv", "frames": 40, "fps": 25.0, "duration_s": 1.6, "highest_score": 0.9,
        "detections": [{"label": "drop", "start_s": 0.0, "end_s": 1.0, "score": 0.9}],
        "picture": "a.png", "finished": True,
    }  # fmt: skip
    assert dataclasses.replace(RecordingResult.from_dict(result.to_dict()), finished=True) == result
    failed = RecordingResult(Path("a.mkv"), "a", error="no")
    assert failed.to_dict() == {"video": "a", "path": "a.mkv", "error": "no"}


def test_several_at_once_detect_the_same(folder, tiny_bundle, command, tmp_path):
    shutil.copy(folder / "b/night.mkv", folder / "b/day.mkv")
    words = ("detect", tiny_bundle, folder, "--json", "--out", tmp_path / "out")
    several = command(*words, "--jobs", 2)
    assert several.returncode == 1
    (error,) = [line for line in several.stderr.splitlines() if line.startswith("infdet-deploy: ")]
    assert error.startswith(f"infdet-deploy: {folder}/b/broken.mp4: not a readable video")
    found = {one["path"]: one for one in json.loads(several.stdout)["videos"]}
    progress = []
    for one in detect(tiny_bundle, [folder], on_progress=lambda *shown: progress.append(shown)):
        same = found[str(one.path)]
        assert one.error == same.get("error")
        assert one.frames == same.get("frames", 0)
        assert len(one.detections) == len(same.get("detections", ()))
    assert progress[-1] == (40 + 24 + 24, 40 + 24 + 24, "")
    again = command(*words[:3], *words[4:])
    assert "finished before, left out: 3 of 4 recordings" in again.stdout
    refused = command(*words, "--jobs", 0)
    assert refused.returncode == 2
    assert "--jobs is 0" in refused.stderr


@pytest.mark.parametrize(
    ("fps", "trained", "noted"),
    [(18, 12.5, False), (25, 12.5, True), (8, 12.5, True), (8.5, 12.5, False), (1, None, False)],
)
def test_a_frame_rate_far_from_training_is_noted(fps, trained, noted, capsys):
    jobs._compare_rates(SimpleNamespace(name="night", fps=fps), trained)
    said = capsys.readouterr().err
    assert (f"night: {fps} frames/s, but the network was trained at 12.5" in said) == noted
    assert bool(said) == noted

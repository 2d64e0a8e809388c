"""Names of videos in annotations, in detections and on disk."""

import json
import unicodedata

import numpy as np
import pytest

from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.checks import check_dataset
from infdet_deploy.datasets.folder import media_in
from infdet_deploy.datasets.names import alike, canonical, meet, nearest, quoted
from infdet_deploy.errors import AnnotationError, VideoError
from tests.video.recordings import write_video


def data_set(root, files, clips, **entry):
    """A data set of empty recordings."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    entry = {"subset": "training", "annotations": [{"label": "fall", "segment": [1.0, 2.0]}]} | entry
    (root / "annotations.json").write_text(json.dumps({"database": {name: entry for name in clips}}))
    return root


def test_canonical_names():
    assert canonical("hall.01") == "hall.01"
    assert canonical("hall_01.MP4") == "hall_01"
    assert canonical(unicodedata.normalize("NFD", "Küche.mkv")) == "Küche"
    assert canonical(".mp4") == ".mp4"


def test_names_that_meet():
    known = ["hall_01.mp4", "b", "cam2/05.12", "Küche"]
    found = ["hall_01", "b", "cam2/05.12", "disk/Ku\u0308che", "v_b"]
    assert meet(found, known, "x") == {
        "hall_01": "hall_01.mp4", "b": "b", "cam2/05.12": "cam2/05.12", "disk/Ku\u0308che": "Küche"
    }  # fmt: skip
    assert meet(["cam1/a", "cam2/a"], ["cam1/a", "cam2/a"], "x") == {"cam1/a": "cam1/a", "cam2/a": "cam2/a"}
    with pytest.raises(AnnotationError, match="x: videos 'cam1/a' and 'cam2/a' both fit clip 'a'"):
        meet(["cam1/a", "cam2/a"], ["a"], "x")
    with pytest.raises(AnnotationError, match="x: video 'a' fits 'cam1/a', 'cam2/a'; name it with its folder"):
        meet(["a"], ["cam1/a", "cam2/a"], "x")


def test_nearest_spelling():
    assert alike("v_Hall-01.mp4", ["hall_02", "hall_01"]) == "hall_01"
    assert alike("clip_1_12", ["clip_11_2"]) is None
    assert alike("cam1/hall", ["cam2/hall", "Hall"]) == "Hall"
    assert alike("disk/Cam1/v_hall", ["cam2/hall", "cam1/hall"]) == "cam1/hall"
    assert alike("a - b", ["a_b"]) == "a_b"
    assert nearest("v_hall", ["x", "hall"]) == "; nearest to 'v_hall': 'hall'"
    assert nearest("hallway_1", ["entrance", "halway_1"]) == "; nearest to 'hallway_1': 'halway_1'"
    assert nearest("a", ["zzz"]) == ""
    assert quoted(["a", "b\n", "c", "d"]) == r"'a', 'b\n', 'c', …"


def test_files_that_accompany_a_video_are_ignored(tmp_path):
    beside = (".SRT", ".xml", ".wav", ".THM", ".LRV", ".jpg", ".tif", ".csv", ".npz", ".insp", ".txt")
    files = [f"videos/a{suffix}" for suffix in (".MP4", *beside)]
    data = open_dataset(data_set(tmp_path, [*files, "videos/b.seq", "videos/b.srt"], ["a", "b"]))
    assert data.media == {"a": tmp_path / "videos/a.MP4", "b": tmp_path / "videos/b.seq"}
    assert "a.srt" not in {name.lower() for name in media_in(tmp_path)}


@pytest.mark.parametrize("other", ["a.webm", "a.MP4", "a/1.jpg"])
def test_two_recordings_of_one_name(tmp_path, other):
    data_set(tmp_path, ["videos/a.mp4", f"videos/{other}"], ["a"])
    with pytest.raises(AnnotationError, match=r"json:1: clip 'a': 'a' is the name of 2 recordings: .*videos/a.*, .*/a"):
        open_dataset(tmp_path)
    data_set(tmp_path, [], ["a.mp4"])
    assert open_dataset(tmp_path).media == {"a.mp4": tmp_path / "videos/a.mp4"}


def test_clips_named_with_a_suffix(tmp_path):
    data_set(
        tmp_path,
        ["videos/a.mp4", "videos/b.mkv", "videos/b.mp4", "videos/Ku\u0308che.mp4"],
        ["a.avi", "b.mkv", "Küche"],
    )
    assert open_dataset(tmp_path).media == {
        "a.avi": tmp_path / "videos/a.mp4",
        "b.mkv": tmp_path / "videos/b.mkv",
        "Küche": tmp_path / "videos/Ku\u0308che.mp4",
    }


def test_letters_with_accents_in_label_studio(tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/K\u00fcche.mkv", np.zeros((50, 16, 16), np.uint8), "ffv1", "gray", rate=10)
    value = {"ranges": [{"start": 11, "end": 20}], "timelinelabels": ["fall"]}
    result = [{"type": "timelinelabels", "value": value}]
    tasks = [{"data": {"video": "/data/upload/1/Ku\u0308che.mkv"}, "annotations": [{"result": result}]}]
    (tmp_path / "annotations.json").write_text(json.dumps(tasks))
    (clip,) = open_dataset(tmp_path, notes=[]).clips
    assert [(one.start_s, one.end_s) for one in clip.instances] == [(1.0, 2.0)]


def test_clips_without_frames_are_told_with_the_nearest_name(tmp_path):
    data_set(tmp_path, ["videos/v_hall_01.mp4", "videos/v_hall_02.mp4"], ["hall_01", "hall_02"])
    (problem,) = check_dataset(tmp_path).problems
    assert "none of the 2 clips is among the recordings" in problem
    assert (
        "'hall_01', 'hall_02', but the files are 'v_hall_01', 'v_hall_02'; nearest to 'hall_01': 'v_hall_01'" in problem
    )
    with pytest.raises(VideoError, match=r"clip 'hall_01' has no frames; .* nearest to 'hall_01': 'v_hall_01'"):
        open_dataset(tmp_path).usable(None, ("fall",))
    (tmp_path / "videos/hall_01.mp4").touch()
    with pytest.raises(AnnotationError, match="has label 'fall', the network knows Fall; nearest to 'fall': 'Fall'"):
        open_dataset(tmp_path).usable(None, ("Fall",))


def test_durations_and_spellings_that_do_not_fit(tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/a.mkv", np.zeros((100, 16, 16), np.uint8), "ffv1", "gray")
    rows = [{"label": label, "segment": [1.0, 2.0 + n]} for n, label in enumerate(("fall", "Fall"))]
    data_set(tmp_path, [], ["a"], duration=4.8, annotations=rows)
    problems = check_dataset(tmp_path).problems
    assert any("classes 'Fall' and 'fall' are spelt alike" in problem for problem in problems)
    (problem,) = [problem for problem in problems if "the duration is 4.8 s, but the frames last 4.00 s" in problem]
    assert problem.endswith("times at another frame rate (1.2 times)")
    data_set(tmp_path, [], ["a"], duration=4.4)
    assert check_dataset(tmp_path).problems == ()


def test_files_among_trimmed_clips(tmp_path, capsys):
    for file in ("wave/01.flv", "wave/02.mp4", "sit/02.3gp", "sit/03.xyz", "sit/02.srt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert [clip.name for clip in open_dataset(tmp_path).clips] == ["sit-02", "wave-01", "wave-02"]
    assert capsys.readouterr().err == f"note: {tmp_path}: 1 files are no clips and left out: '03.xyz'\n"

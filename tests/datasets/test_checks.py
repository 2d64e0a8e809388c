"""What `dataset check` finds: the published figures, and each fault by file and line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from infdet_deploy.datasets.checks import check_dataset
from tests.paths import INFDET


@pytest.mark.skipif(not INFDET.is_dir(), reason="the published InfDet annotations are not here")
def test_the_published_annotations_give_table_ii():
    report = check_dataset(INFDET).to_dict()
    assert report["classes"] == ["drop", "fight", "hug"]
    assert report["lengths"] == {"drop": [279, 2, 0], "fight": [75, 123, 12], "hug": [332, 17, 3]}
    assert (report["clips"], report["instances"]) == (234, 843)
    assert report["length_s"]["drop"]["mean"] == pytest.approx(1.4326, abs=1e-4)
    assert report["frames"] == {"decoded": 0, "of": 234}
    assert report["problems"] == []


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), np.full((32, 40), index, np.uint8))


FAULTY = """{
 "a": {"subset": "training", "duration": 4.0, "actions": [
   [0, 1.0, 2.0],
   [0, 1.5, 3.0],
   [1, 3.0, 2.0],
   [1, NaN, 2.0],
   [2, 3.5, 4.5],
   [2, -1.0, 0.5],
   [7, 1.0, 2.0]
 ]},
 "b": {"subset": "training", "duration": 4.0, "actions": [[0, 1.0, 2.0]]},
 "b": {"subset": "testing", "duration": 4.0, "actions": [[0, 1.0, 2.0]]},
 "c": {"subset": "training", "duration": 4.0, "actions": []},
 "d": {"subset": "training", "duration": 4.0, "actions": []}
}
"""


def test_each_fault_is_named_with_file_and_line(tmp_path):
    file = tmp_path / "infdet.json"
    file.write_text(FAULTY)
    for name in "abc":
        pictures(tmp_path / "frames" / name, 20)
    (tmp_path / "frames" / "b" / "00007.jpg").write_bytes(b"\xff\xd8 not a picture")
    shutil.rmtree(tmp_path / "frames" / "c")
    pictures(tmp_path / "frames" / "c", 5)
    report = check_dataset(tmp_path).to_dict()
    expected = [
        (f"{file}:4: ", "overlaps"),
        (f"{file}:5: ", "end 2.0 s is not after start 3.0 s"),
        (f"{file}:6: ", "got nan"),
        (f"{file}:7: ", "ends at 4.5 s, after clip 'a' of 4 s"),
        (f"{file}:8: ", "starts at -1 s, before clip 'a' begins"),
        (f"{file}:9: ", "unknown class 7"),
        (f"{file}:12: ", "key 'b' occurs twice"),
        (f"{tmp_path / 'frames' / 'b' / '00007.jpg'}: ", "not a readable image"),
        (f"{tmp_path / 'frames' / 'c'}: ", "clip has 5 frames; at least 16"),
        (f"{file}:14: ", "clip 'd' has no frames"),
    ]
    for place, words in expected:
        assert [p for p in report["problems"] if p.startswith(place) and words in p], (place, report["problems"])
    assert len(report["problems"]) == len(expected)
    assert report["lengths"]["drop"] == [3, 0, 0]  # what can be used is counted
    assert report["frames"] == {"decoded": 1, "of": 4}


def test_an_instance_after_the_last_frame(tmp_path):
    from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize

    data = synthesize(
        tmp_path / "data", SynthesizeOptions(clips=1, size=(64, 64), fps=8, clip_s=(10, 10), test_share=0)
    )
    file = data / "annotations.json"
    content = json.loads(file.read_text())
    content["database"]["drop_0000"] = {"annotations": [{"label": "drop", "segment": [9.0, 10.5]}]}
    file.write_text(json.dumps(content))
    seen = []
    report = check_dataset(data, on_progress=lambda done, total: seen.append((done, total)))
    (problem,) = report.problems
    assert "ends at 10.5 s, but the frames of 'drop_0000' end at 10.00 s" in problem
    assert report.duration_s.total == pytest.approx(10.0)
    assert report.decoded_s == {"drop_0000": pytest.approx(10.0)}
    assert seen == [(1, 1)]


def test_commands(tmp_path, command):
    file = tmp_path / "infdet.json"
    file.write_text(FAULTY)
    result = command("dataset", "check", file, "--picture", tmp_path / "pictures", "--json")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "note" not in result.stderr
    assert (tmp_path / "pictures" / "dataset.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(result.stdout)["problems"]) == 7  # no problems of frames without frames
    file.write_text(json.dumps({"a": {"actions": [[0, 1.0, 2.0]]}}))
    result = command("dataset", "check", file, "--picture", tmp_path / "a.png")  # the spelling before 0.2
    assert result.returncode == 0, result.stderr
    assert "note: --picture names a folder" in result.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "no problem found" in result.stdout

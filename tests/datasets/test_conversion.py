"""Annotations from one format to another and back."""

import json
from typing import get_args

import pytest

from infdet_deploy.cli.dataset import FormatName as CliFormats
from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.conversion import convert_dataset
from infdet_deploy.datasets.formats import FORMATS, FormatName
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.errors import AnnotationError, UsageError

CLIPS = (
    Clip("a", 12.5, "training", (Instance("hug", 1.04, 3.52), Instance("drop", 0.2, 0.96))),
    Clip("b", 8.0, "testing", (Instance("fight", 2.0, 7.0),)),
)


@pytest.fixture
def data(tmp_path):
    entries = {
        c.name: {
            "subset": c.subset,
            "duration": c.duration_s,
            "annotations": [{"label": i.label, "segment": [i.start_s, i.end_s]} for i in c.instances],
        }
        for c in CLIPS
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "annotations.json").write_text(json.dumps({"database": entries}))
    return open_dataset(tmp_path / "in")


def test_the_command_offers_every_format():
    assert get_args(FormatName) == get_args(CliFormats) == tuple(FORMATS)


@pytest.mark.parametrize("format", FORMATS)
def test_there_and_back(data, tmp_path, format):
    out = tmp_path / ("out" if format == "thumos" else "out.json")
    result = convert_dataset(data, out, format, fps=25)
    assert (result.clips, result.format, result.out) == (2, format, str(out))
    lost = result.to_dict()["lost"]
    back = open_dataset(out)
    assert back.classes == ("drop", "fight", "hug")
    if format == "thumos":
        assert lost == ["durations of clips"]
        assert {c.name: (c.subset, set(c.instances)) for c in back.clips} == {
            "a": ("train", set(CLIPS[0].instances)),
            "b": ("test", set(CLIPS[1].instances)),
        }
        assert [clip.name for clip in back.subset("training")] == ["a"]
    else:
        assert lost == (["class names (indices count drop, fight, hug)"] if format == "infdet" else [])
        assert [(c.name, c.duration_s, c.subset) for c in back.clips] == [
            ("a", 12.5, "training"),
            ("b", 8.0, "testing"),
        ]
        for clip, wanted in zip(back.clips, CLIPS, strict=True):
            for one, other in zip(clip.instances, wanted.instances, strict=True):
                assert one.label == other.label
                assert (one.start_s, one.end_s) == pytest.approx((other.start_s, other.end_s), abs=1e-9)


def test_label_studio_has_no_times_between_frames(data, tmp_path):
    (moved,) = convert_dataset(data, tmp_path / "a.json", "label-studio", fps=10).lost
    assert moved == "times between frames (moved by up to 0.040 s)"
    with pytest.raises(AnnotationError, match="clip 'a': Label Studio counts frames; give the frame rate"):
        convert_dataset(data, tmp_path / "b.json", "label-studio")
    assert not (tmp_path / "b.json").exists()


def test_refused_formats_and_files(data, tmp_path):
    with pytest.raises(UsageError, match="format is 'coco', expected one of activitynet, infdet, thumos, label-studio"):
        convert_dataset(data, tmp_path / "a.json", "coco")
    (tmp_path / "a.json").write_text("")
    with pytest.raises(UsageError, match=r"a\.json exists; choose another name"):
        convert_dataset(data.root, tmp_path / "a.json", "activitynet")


LABELS = [{"ranges": [{"start": 11, "end": 20}], "timelinelabels": ["fall"]}]


@pytest.mark.parametrize(
    "task",
    [
        {"id": 3, "video": "/data/upload/1/1a2b3c4d-hall.mp4", "actions": LABELS, "annotator": 1},
        {
            "data": {"video": "/data/local-files/?d=night%2Fhall.mp4"},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {"result": [{"type": "timelinelabels", "value": LABELS[0]}, {"type": "choices", "value": {}}]},
            ],
        },
    ],
)
def test_label_studio_exports(tmp_path, task):
    file = tmp_path / "export.json"
    file.write_text(json.dumps([task]))
    (clip,) = open_dataset(file, fps=10).clips
    assert clip == Clip("hall", None, None, (Instance("fall", 1.0, 2.0),))
    with pytest.raises(AnnotationError, match=r"export\.json:1: task 0: ranges count frames, and the frame rate"):
        open_dataset(file)


def test_command(data, tmp_path, command):
    result = command("dataset", "convert", data.root, tmp_path / "out", "--to", "thumos")
    assert result.returncode == 0, result.stderr
    assert "not stored by this format: durations of clips" in result.stdout
    assert (tmp_path / "out" / "hug_train.txt").read_text() == "a 1.04 3.52\n"
    assert (tmp_path / "out" / "detclasslist.txt").read_text() == "1 drop\n2 fight\n3 hug\n"
    for arguments, word in ((("--to", "coco"), "activitynet"), (("--to", "thumos"), "exists")):
        result = command("dataset", "convert", data.root, tmp_path / "out", *arguments)
        assert result.returncode == 2
        assert word in result.stderr

"""The parts of `demo` that print and draw; all of it takes minutes and runs by `make demo`."""

import json

import pytest

pytest.importorskip("cv2")

from infdet_deploy.cli import demo
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.detections import Detection


def test_finished_clips_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "CLIPS", 4)
    demo._draw(tmp_path / "data")
    content = json.loads((tmp_path / "data" / "annotations.json").read_text())
    assert content["classes"] == ["drop", "fight", "hug"]
    assert [name.split("_")[0] for name in content["database"]] == ["drop", "fight", "hug", "quiet"]
    before = (tmp_path / "data" / "annotations.json").stat().st_mtime_ns
    demo._draw(tmp_path / "data")
    assert (tmp_path / "data" / "annotations.json").stat().st_mtime_ns == before


def test_the_table_shows_what_fine_tuning_gave(capsys):
    clips = [Clip("a", 20.0, "testing", (Instance("fight", 2.0, 6.0), Instance("hug", 8.0, 12.0)))]
    hug, fight = Detection("hug", 8.0, 12.0, 0.9), Detection("fight", 2.0, 6.5, 0.8)
    demo._print_accuracy(clips, {"a": [hug]}, {"float32": {"a": [hug, fight]}, "float16": {"a": [hug]}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and line[0] == "pretrained"}
    assert rows["pretrained"][-4:] == ["–", "0.000", "1.000", "0.500"]  # the mean is that of classes with instances
    (tuned,) = [line for line in lines if line[:2] == ["fine-tuned,", "float32"]]
    assert tuned[-4:] == ["–", "1.000", "1.000", "1.000"]
    assert any("1 missed, 0 extra" in " ".join(line) for line in lines)

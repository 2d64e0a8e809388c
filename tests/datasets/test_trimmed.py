"""Clips in class folders: reading and refusals."""

import dataclasses
import shutil

import pytest

from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.checks import check_dataset
from infdet_deploy.datasets.conversion import convert_dataset
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.datasets.trimmed import trimmed
from infdet_deploy.errors import AnnotationError, TrainingError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.training.dataset import hold_out, load_dataset
from tests.video.recordings import moving_scene, write_video

MODEL = ModelConfig(classes=("sit", "wave"), size=64, channel_divisor=8, task="recognition")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two classes, two training clips each, one test clip, 24 frames at 25 a second."""
    root = tmp_path_factory.mktemp("trimmed")
    for path in ("train/wave/1.mkv", "train/wave/2.mkv", "train/sit/1.mkv", "train/sit/2.mkv", "test/wave/3.mkv"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / path, moving_scene(24, 32, 32), "ffv1", "gray")
    (root / "train" / "wave" / "notes.txt").write_text("not a clip")
    return root


def test_class_folders(data):
    found = open_dataset(data)
    assert found.classes == ("sit", "wave")
    assert [(c.name, c.subset, c.label) for c in found.clips] == [
        ("train-sit-1", "training", "sit"), ("train-sit-2", "training", "sit"), ("train-wave-1", "training", "wave"),
        ("train-wave-2", "training", "wave"), ("test-wave-3", "testing", "wave"),
    ]  # fmt: skip
    assert found.media["test-wave-3"] == data / "test" / "wave" / "3.mkv"
    unsorted = open_dataset(data / "train")  # without subset folders all clips are for training
    assert [c.name for c in unsorted.clips] == ["sit-1", "sit-2", "wave-1", "wave-2"]
    assert {c.subset for c in unsorted.clips} == {"training"}


def test_subset_folders_in_capitals(data, tmp_path):
    for folder, name in (("train", "Train"), ("test", "TEST")):
        shutil.copytree(data / folder, tmp_path / name)
    found = open_dataset(tmp_path)
    assert found.classes == ("sit", "wave")
    assert [(c.name, c.subset) for c in found.clips][::4] == [("Train-sit-1", "training"), ("TEST-wave-3", "testing")]


def test_the_report_counts_clips_of_each_class(data):
    report = check_dataset(data).to_dict()
    assert report["trimmed"] == {"sit": 2, "wave": 3}
    assert report["subsets"] == {"training": 4, "testing": 1}
    assert report["frames"] == {"decoded": 5, "of": 5}
    assert report["problems"] == []
    assert report["duration_s"]["total"] == pytest.approx(5 * 24 / 25, abs=1e-3)


def test_every_snippet_has_the_label_of_its_clip(data):
    clips = load_dataset(data, "training", MODEL)
    assert [clip.labels.tolist() for clip in clips] == [[[1, 0]] * 2] * 2 + [[[0, 1]] * 2] * 2
    kept, held = hold_out([clip.annotation for clip in clips], 0.5)
    assert [clip.name for clip in held] == ["train-sit-1", "train-wave-1"]
    assert [clip.name for clip in kept] == ["train-sit-2", "train-wave-2"]


def test_two_clips_of_one_name(data, tmp_path):
    (tmp_path / "wave").mkdir()
    for name in ("1.mkv", "1.avi"):
        (tmp_path / "wave" / name).write_bytes(b"")
    with pytest.raises(AnnotationError, match="another clip is called 'wave-1'"):
        open_dataset(tmp_path)


def test_clips_that_do_not_fit_the_task(data, tmp_path):
    with pytest.raises(TrainingError, match="sorted by class and have no times; train with --task recognition"):
        load_dataset(data, "training", dataclasses.replace(MODEL, task="detection"))
    with pytest.raises(AnnotationError, match="no times"):
        convert_dataset(data, tmp_path / "a.json", "activitynet")
    with pytest.raises(AnnotationError, match="a folder of clips for each class"):
        open_dataset(tmp_path)


def test_a_clip_of_timed_instances_is_recognised_by_its_one_class():
    one = Clip("a", 4.0, "training", (Instance("wave", 0.5, 1.0), Instance("wave", 2.0, 3.0)), "a.json:3")
    assert trimmed(one) == Clip("a", 4.0, "training", (), "a.json:3", "wave")
    two = dataclasses.replace(one, instances=(*one.instances, Instance("sit", 1.0, 2.0)))
    with pytest.raises(AnnotationError, match=r"a.json:3: clip 'a' shows sit, wave; recognition needs"):
        trimmed(two)

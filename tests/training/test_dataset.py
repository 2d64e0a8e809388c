"""A data set folder becomes frames, flow and labels; the cache follows the content."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy import processes
from infdet_deploy.datasets.annotations import write_annotations
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.detections import DetectionRule, detect
from infdet_deploy.errors import AnnotationError, TrainingError, VideoError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import feature_length
from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize
from infdet_deploy.training import dataset
from infdet_deploy.training.tvl1 import tvl1_flow
from tests.video.recordings import moving_scene, write_video

MODEL = ModelConfig(size=64, channel_divisor=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two clips, both for training, of 10 s at 8 frames/s."""
    folder = tmp_path_factory.mktemp("dataset") / "data"
    return synthesize(folder, SynthesizeOptions(clips=2, size=(64, 64), fps=8, clip_s=(10, 10), test_share=0))


def test_clips(data):
    seen = []
    clips = dataset.load_dataset(data, "training", MODEL, lambda done, total: seen.append((done, total)))
    assert [clip.name for clip in clips] == ["drop_0000", "fight_0000"]
    assert seen[-1] == (2, 2)
    for clip in clips:
        assert clip.frames.shape == (80, 64, 64)
        assert clip.frames.dtype == np.uint8
        assert clip.duration_s == pytest.approx(10)
        assert clip.fps == pytest.approx(8)
        assert clip.labels.shape == (feature_length(80), 3) == (9, 3)
        np.testing.assert_array_equal(clip.flow, tvl1_flow(clip.frames, 3))
    assert clips[1].labels[:, 1].sum() >= 3  # a fight lasts some seconds


def test_labels_are_strictly_inside():
    clip = Clip("a", 10.0, None, (Instance("x", 2.0, 5.0), Instance("y", 0.5, 1.4)))
    labels = dataset.snippet_labels(clip, ("x", "y"), frames=80, duration_s=10.0, snippets=9, ends="published")
    assert labels[:, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]  # 2 s and 5 s are not inside
    assert labels[:, 1].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_labels_with_interpolated_ends_are_shares_of_time_around_the_centre():
    clip = Clip("a", 10.0, None, (Instance("x", 2.0, 5.25), Instance("x", 5.25, 6.0), Instance("y", 0.6, 1.4)))
    labels = dataset.snippet_labels(clip, ("x", "y"), frames=80, duration_s=10.0, snippets=9, ends="interpolated")
    # Snippet j is the second from j + 0.5 to j + 1.5.
    assert labels[:, 0].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0, 0, 0])  # fractions of two actions add up
    assert labels[:, 1].tolist() == pytest.approx([0.8, 0, 0, 0, 0, 0, 0, 0, 0])
    later = dataset.snippet_labels(clip, ("x", "y"), 80, 10.0, snippets=3, ends="interpolated", start=12)
    assert later[:, 0].tolist() == pytest.approx([1, 1, 1])  # from 2 s
    found = detect(labels[:, :1], ("x",), DetectionRule((0.5,), (0.0,), ends="interpolated"), 1.0)
    assert [(d.start_s, d.end_s) for d in found] == [(pytest.approx(1.8), pytest.approx(6.2))]  # 0.4, not 0.5 of 1


def test_cache(data, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)  # keeps the files' times
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    first = dataset.load_dataset(folder, "training", MODEL)
    files = sorted((folder / ".cache").iterdir())
    assert len(files) == 2

    with monkeypatch.context() as patch:
        patch.setattr(processes, "ProcessPoolExecutor", None)  # nothing is left to prepare
        again = dataset.load_dataset(folder, "training", MODEL)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.frames, two.frames)
        np.testing.assert_array_equal(one.flow, two.flow)
        assert one.duration_s == two.duration_s

    cut = files[0].read_bytes()[:1000]
    files[0].unlink()  # the arrays above are mapped from it
    files[0].write_bytes(cut)  # damaged: prepared again
    os.utime(folder / "videos" / "fight_0000.mp4", ns=(1, 1))  # another video: another file
    third = dataset.load_dataset(folder, "training", MODEL)
    np.testing.assert_array_equal(third[0].flow, first[0].flow)
    assert len(list((folder / ".cache").iterdir())) == 3
    assert files[0].stat().st_size > 1000


def test_mean_durations(data):
    clips = dataset.load_dataset(data, "training", MODEL)
    drop_s, fight_s = dataset.mean_durations_s(clips, ("drop", "fight"))
    assert 0.4 < drop_s < 4.0
    assert 2.0 < fight_s < 10.0
    with pytest.raises(TrainingError, match="no instance of class 'hug' in 2 training clips"):
        dataset.mean_durations_s(clips, MODEL.classes)


def test_errors(data, tmp_path):
    with pytest.raises(AnnotationError, match="no such data set folder"):
        dataset.load_dataset(tmp_path / "none", "training", MODEL)
    with pytest.raises(AnnotationError, match="no clip of subset 'testing'; subsets there are training"):
        dataset.load_dataset(data, "testing", MODEL)
    with pytest.raises(AnnotationError, match=r"label '(drop|fight)', the network knows wave"):
        dataset.load_dataset(data, "training", ModelConfig(classes=("wave",), size=64))
    write_annotations(tmp_path / "annotations.json", [Clip("gone", 3.0, "training", (Instance("drop", 1, 2),))])
    with pytest.raises(VideoError, match=r"clip 'gone' has no frames; expected videos/gone\.mp4"):
        dataset.load_dataset(tmp_path, "training", MODEL)


def test_pictures_take_their_time_from_the_annotations(tmp_path):
    import cv2

    folder = tmp_path / "frames" / "a"
    folder.mkdir(parents=True)
    for index in range(40):
        cv2.imwrite(str(folder / f"{index:05d}.png"), np.full((40, 60), 5 * index, np.uint8))
    entry = {"subset": "training", "duration": 10.0, "actions": [[1, 2.0, 5.1]]}
    (tmp_path / "infdet.json").write_text(json.dumps({"a": entry}))
    (clip,) = dataset.load_dataset(tmp_path, "training", MODEL)
    assert clip.frames.shape == (40, 64, 64)
    assert np.abs(clip.frames[:, 5, 5].astype(int) - 5 * np.arange(40)).max() <= 1
    assert clip.duration_s == 10.0
    assert clip.fps == pytest.approx(len(clip.frames) / clip.duration_s)
    assert clip.labels.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]  # 4 s is inside, 2 s and 6 s are not


def test_arrays_stay_on_disk(data):
    clip = dataset.load_dataset(data, "training", MODEL)[0]
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc/self/maps to see mapped files in")
    address = clip.frames.__array_interface__["data"][0]
    for line in maps.read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            assert line.endswith(".safetensors")


def test_a_recording_with_a_pause_gives_a_clip_for_each_part(tmp_path):
    pts = [40 * n + 60_000 * (n >= 50) for n in range(100)]
    (tmp_path / "videos").mkdir()
    frames = moving_scene(100, 64, 64)
    write_video(tmp_path / "videos/gap.mkv", frames, "ffv1", "gray", pts=pts)
    instances = (Instance("fight", 1.0, 1.8), Instance("hug", 62.4, 63.0))
    write_annotations(tmp_path / "annotations.json", [Clip("gap", None, "training", instances)])
    for _ in range(2):  # computed, then from the cache
        first, second = dataset.load_dataset(tmp_path, "training", MODEL)
        assert (first.name, second.name) == ("gap part 1", "gap part 2")
        for part, shown in ((first, frames[:50]), (second, frames[50:])):
            assert np.array_equal(part.frames, shown)
            assert np.array_equal(part.flow, tvl1_flow(shown, MODEL.flow_channels, MODEL.flow_stride))
            assert (part.duration_s, part.fps) == (2.0, 25.0)
        assert np.argwhere(first.labels).tolist() == [[4, 1], [5, 1]]  # snippet j at j/3 s
        assert np.argwhere(second.labels).tolist() == [[2, 2]]

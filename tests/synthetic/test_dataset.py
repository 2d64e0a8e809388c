"""The synthetic data set: reproducible, well-formed, with InfDet's lengths and motion that shows the class."""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")
pytest.importorskip("cv2")

from infdet_deploy.errors import UsageError
from infdet_deploy.synthetic.choreography import CLASSES, schedule
from infdet_deploy.synthetic.dataset import FPS, SynthesizeOptions, frames_of, render_clip, synthesize
from infdet_deploy.synthetic.figures import joints, pose

INFDET = Path(__file__).parents[3] / "shared" / "data" / "infdet_annotations"


@pytest.fixture(scope="module")
def rendered():
    """Three clips a class: class → list of (frames, annotations)."""
    return {label: [render_clip(np.random.default_rng([7, n]), label) for n in range(3)] for label in CLASSES}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    calls = []
    out = tmp_path_factory.mktemp("synthetic") / "set"
    returned = synthesize(
        out, SynthesizeOptions(clips=12, seed=3, clip_s=(14.0, 15.0)), lambda *call: calls.append(call)
    )
    assert returned == out
    return out, json.loads((out / "annotations.json").read_text()), calls


def spans(annotations, label):
    return [slice(int(a["segment"][0] * FPS), int(a["segment"][1] * FPS)) for a in annotations if a["label"] == label]


def movement(frames):
    """Mean absolute difference to the next frame where it stands out of the noise, float [T - 1]."""
    small = frames.reshape(len(frames), 30, 4, 40, 4).mean(axis=(2, 4))
    return np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))


@pytest.mark.skipif(not INFDET.is_dir(), reason="InfDet's published annotations are not here")
def test_the_frame_rate_is_infdets():
    lines = [line.split() for label in CLASSES for line in (INFDET / f"{label}.txt").read_text().splitlines()]
    frames = FPS * np.array([[float(start_s), float(end_s)] for _, start_s, end_s in lines])
    assert frames.shape == (843, 2)
    np.testing.assert_allclose(frames, frames.round(), atol=1e-6)


def test_the_same_seed_gives_the_same_frames():
    first, notes = render_clip(np.random.default_rng([5, 1]), "hug")
    again, notes_again = render_clip(np.random.default_rng([5, 1]), "hug")
    other, _ = render_clip(np.random.default_rng([6, 1]), "hug")
    assert first.tobytes() == again.tobytes()
    assert notes == notes_again
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize("label", CLASSES)
def test_frames_use_the_grey_levels_without_saturating(rendered, label):
    for frames, _ in rendered[label]:
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (120, 160)
        assert np.mean((frames == 0) | (frames == 255)) < 1e-3
        assert np.percentile(frames, 99.5) - np.percentile(frames, 1) > 50
        assert frames.max() > 130


@pytest.mark.parametrize("clip_s", [(14.0, 20.0), (10.0, 10.0), (30.0, 40.0)])
@pytest.mark.parametrize("label", CLASSES)
def test_instances_lie_inside_the_clip_apart_from_each_other(label, clip_s):
    for n in range(200):
        duration_s, instances = schedule(np.random.default_rng([1, n]), label, clip_s)
        assert clip_s[0] <= duration_s <= clip_s[1]
        assert 2 <= len(instances) <= 4
        assert instances[0].label == label
        assert instances[0].start_s > 0
        assert instances[-1].end_s < duration_s
        assert all(instance.end_s - instance.start_s > 0.4 for instance in instances)
        assert all(b.start_s - a.end_s > 1.0 for a, b in pairwise(instances))


def test_clips_contain_several_instances_with_the_mean_lengths_of_infdet():
    lengths_s, counts = defaultdict(list), []
    for n in range(1500):
        _, instances = schedule(np.random.default_rng([2, n]), CLASSES[n % 3], (14.0, 20.0))
        counts.append(len(instances))
        for instance in instances:
            lengths_s[instance.label].append(instance.end_s - instance.start_s)
    assert min(counts) >= 2
    for label, mean_s in {"drop": 1.43, "fight": 6.12, "hug": 3.28}.items():
        assert np.mean(lengths_s[label]) == pytest.approx(mean_s, rel=0.1)


def test_fights_move_more_than_the_time_around_them_and_than_hugs(rendered):
    inside = {label: [] for label in CLASSES}
    for label in ("fight", "hug"):
        for frames, annotations in rendered[label]:
            moved = movement(frames)
            contrast = np.percentile(frames, 99.5) - np.median(frames)
            background = np.ones(len(moved), bool)
            for annotation in annotations:
                start_s, end_s = annotation["segment"]
                background[int(start_s * FPS) - 8 : int(end_s * FPS) + 8] = False
            for span in spans(annotations, label):
                inside[label].append(moved[span].mean() / contrast)
                if label == "fight":
                    assert moved[span].mean() > 1.2 * moved[background].mean()
    assert np.mean(inside["fight"]) > 1.3 * np.mean(inside["hug"])


def test_a_drop_lowers_the_centre_of_warmth(rendered):
    sank = []
    for frames, annotations in rendered["drop"]:
        still = np.median(frames, axis=0)
        warm = np.clip(frames - still - 25.0, 0, None).sum(axis=2)  # [T, rows]
        centre = (warm * np.arange(120)).sum(axis=1) / np.maximum(warm.sum(axis=1), 1)
        sank += [centre[span.stop + 2] - centre[span.start - 2] for span in spans(annotations, "drop")]
    assert np.mean(sank) > 8  # rows
    assert np.mean(np.array(sank) > 0) >= 0.8


def test_every_pose_rests_on_the_ground():
    upright = joints(pose()[None], np.zeros(1), np.ones(1))[0]
    lying = joints(pose(lean=1.5, hip_a=-1.5, hip_b=-1.5)[None], np.zeros(1), np.ones(1))[0]
    assert upright[:, 1].max() == pytest.approx(0.93, abs=0.05)  # the head's centre
    assert lying[:, 1].max() < 0.4
    assert min(upright[:, 1].min(), lying[:, 1].min()) > 0
    with pytest.raises(TypeError, match="wrist"):
        pose(wrist=1.0)


def test_the_data_set_is_balanced_and_described(dataset):
    _, description, calls = dataset
    assert description["version"] == "infdet-synthetic 2"
    assert description["classes"] == list(CLASSES)
    assert calls == [(n, 12) for n in range(1, 13)]
    clips = Counter()
    for name, entry in description["database"].items():
        assert {"subset", "duration", "fps", "annotations"} == set(entry)
        clips[name.split("_")[0], entry["subset"]] += 1
        for annotation in entry["annotations"]:
            start_s, end_s = annotation["segment"]
            assert annotation["label"] in CLASSES
            assert 0 < start_s < end_s - 0.4
            assert end_s <= entry["duration"]
        assert round(entry["duration"] * FPS) % 8 == 0
    assert clips == {(label, subset): n for label in CLASSES for subset, n in (("training", 3), ("testing", 1))}


@pytest.mark.parametrize(
    ("duration_s", "clip_s", "frames"),
    [(14.1, (14.0, 20.0), 256), (17.0, (14.0, 20.0), 304), (20.0, (14.0, 20.0), 360), (10.0, (10.0, 10.0), 176)],
)
def test_clips_are_whole_snippets_long(duration_s, clip_s, frames):
    assert frames_of(duration_s, clip_s, 18.0) == frames


def test_the_files_contain_the_drawn_frames(dataset):
    out, description, _ = dataset
    assert {file.stem for file in (out / "videos").iterdir()} == set(description["database"])
    for index, name in ((1, "fight_0000"), (11, "hug_0003")):
        drawn, _ = render_clip(
            np.random.default_rng([3, index]), name.split("_")[0], SynthesizeOptions(clip_s=(14.0, 15.0))
        )
        with av.open(str(out / "videos" / f"{name}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert float(stream.average_rate) == FPS
            read = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(stream)])
        assert read.shape == drawn.shape
        assert len(read) / FPS == pytest.approx(description["database"][name]["duration"], abs=1e-3)
        assert np.abs(read.astype(float) - drawn).mean() < 2.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips": 0}, "clips is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"size": (121, 160)}, "121 rows"),
        ({"fps": 0.0}, "fps is 0"),
        ({"clip_s": (20.0, 14.0)}, "clip_s"),
        ({"test_share": 1.5}, "test_share is 1.5"),
        ({"classes": ("drop", "run")}, "classes is"),
    ],
)
def test_invalid_options_are_refused(tmp_path, wrong, message):
    with pytest.raises(UsageError, match=message):
        synthesize(tmp_path / "set", SynthesizeOptions(**wrong))
    assert not list(tmp_path.iterdir())


def test_an_unknown_class_is_refused():
    with pytest.raises(UsageError, match="'run'"):
        render_clip(np.random.default_rng(0), "run")


def test_a_failure_leaves_nothing(tmp_path):
    def stop(done, total):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        synthesize(tmp_path / "set", SynthesizeOptions(clips=2, clip_s=(10.0, 10.0)), stop)
    assert not list(tmp_path.iterdir())

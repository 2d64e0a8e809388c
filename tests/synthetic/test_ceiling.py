"""The synthetic ceiling's view: reproducible, readable, and like a real sensor's recordings."""

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from infdet_deploy.errors import UsageError
from infdet_deploy.synthetic.ceiling import CeilingOptions, draw_recording, synthesize_ceiling
from infdet_deploy.video.arrays import read_npz
from infdet_deploy.video.sensor import hold_warm_up


@pytest.fixture(scope="module")
def recordings():
    return [draw_recording(np.random.default_rng([7, n])) for n in range(12)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    calls = []
    out = tmp_path_factory.mktemp("ceiling") / "set"
    returned = synthesize_ceiling(out, CeilingOptions(clips=4, seed=3), lambda *call: calls.append(call))
    assert returned == out
    return out, json.loads((out / "annotations.json").read_text()), calls


def test_the_same_seed_gives_the_same_values():
    first, again, other = (draw_recording(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.frames.tobytes() == again.frames.tobytes()
    assert first.times_s.tobytes() == again.times_s.tobytes()
    assert first.annotations == again.annotations
    assert first.frames.shape != other.frames.shape or (first.frames != other.frames).any()


def test_frames_are_temperatures_with_their_times(recordings):
    for one in recordings:
        assert one.frames.dtype == np.float32
        assert one.frames.shape == (len(one.times_s), 16, 16)
        assert 15 < np.median(one.frames) < 30
        assert one.times_s[0] == 0
        steps = np.diff(one.times_s)
        assert steps.min() > 0.05
        assert steps.std() > 0.005
        assert np.median(steps) == pytest.approx(1 / 9, rel=0.1)
        assert 35 <= one.times_s[-1] < 100


def test_some_recordings_lose_frames():
    longest = [np.diff(draw_recording(np.random.default_rng([9, n])).times_s).max() for n in range(40)]
    assert 1 <= np.sum(np.array(longest) > 0.2) <= 12


def test_labels_lie_inside_recordings_in_order(recordings):
    found = [annotation for one in recordings for annotation in one.annotations]
    assert {annotation["label"] for annotation in found} == {"fall", "sitdown", "standup"}
    for one in recordings:
        ends = [at for annotation in one.annotations for at in annotation["segment"]]
        assert ends == sorted(ends)
        assert not ends or (ends[0] > 2 and ends[-1] < one.times_s[-1])
    lengths = [annotation["segment"][1] - annotation["segment"][0] for annotation in found]
    assert 1 < min(lengths) < max(lengths) < 5


@pytest.mark.parametrize("contrast_k", [(0.5, 1.2), (3.0, 3.0)])
def test_a_person_has_the_contrast_asked_for(contrast_k):
    options = CeilingOptions(contrast_k=contrast_k)
    for n in range(4):
        one = draw_recording(np.random.default_rng([2, n]), options)
        assert contrast_k[0] - 1e-5 <= one.warmth_k.max() <= contrast_k[1] + 1e-5


def test_the_first_frames_are_warm_up(recordings):
    for one in recordings:
        _, held = hold_warm_up(one.frames)
        assert 6 <= held <= 20
        assert one.frames[0].max() < one.frames[-1].min()


def test_a_fall_makes_the_person_longer(recordings):
    longer = []
    for one in recordings:
        for annotation in one.annotations:
            if annotation["label"] == "fall":
                index = np.searchsorted(one.times_s, annotation["segment"][1])
                longer.append(elongation(one.warmth_k[index]))
            elif annotation["label"] == "standup":
                index = np.searchsorted(one.times_s, annotation["segment"][0])
                longer.append(-elongation(one.warmth_k[index]))
    falls, seats = [v for v in longer if v > 0], [-v for v in longer if v < 0]
    assert np.median(falls) > 1.3 * np.median(seats)


def elongation(warmth_k):
    """The ratio of the longer axis to the shorter of a warm picture [16, 16]."""
    row, column = np.nonzero(warmth_k > 0.4 * warmth_k.max())
    shorter, longer = np.linalg.eigvalsh(np.cov(row, column, aweights=warmth_k[row, column]) + 0.1 * np.eye(2))
    return np.sqrt(longer / shorter)


def test_the_folder_has_a_recording_for_each_entry(dataset):
    out, content, calls = dataset
    assert calls == [(n, 4) for n in range(1, 5)]
    assert content["classes"] == ["fall", "sitdown", "standup"]
    assert sorted(content["database"]) == sorted(path.stem for path in (out / "videos").glob("*.npz"))
    assert [entry["subset"] for entry in content["database"].values()].count("testing") == 1
    for name, entry in content["database"].items():
        with np.load(out / "videos" / f"{name}.npz") as arrays:
            assert entry["duration"] == pytest.approx(arrays["times_s"][-1] + 1 / 9, abs=0.01)


def test_recordings_are_read_as_thermal_arrays(dataset):
    out, content, _ = dataset
    for name in content["database"]:
        frames = list(read_npz(out / "videos" / f"{name}.npz"))
        with np.load(out / "videos" / f"{name}.npz") as arrays:
            assert_array_equal([frame.time_s for frame in frames], arrays["times_s"])
        assert "warm-up" in frames[0].note


def test_recordings_are_prepared_at_levels_over_the_background(dataset):
    pytest.importorskip("av")
    from infdet_deploy.video.frames import read_video

    out, content, _ = dataset
    name = next(iter(content["database"]))
    video = read_video(out / "videos" / f"{name}.npz", levels="background", frame_rate=12)
    frames = np.stack([np.asarray(frame) for frame in video.frames])
    assert abs(float(np.median(frames)) - 64) <= 1
    assert frames.max() > 64 + 20


def test_an_existing_folder_is_not_replaced(tmp_path):
    with pytest.raises(UsageError, match="exists"):
        synthesize_ceiling(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": 0}, "clips is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"clip_s": (10.0, 60.0)}, "clip_s is 10.0 to 60.0"),
        ({"clip_s": (60.0, 40.0)}, "clip_s is 60.0 to 40.0"),
        ({"contrast_k": (0.0, 1.0)}, "contrast_k is 0.0 to 1.0"),
        ({"contrast_k": (float("nan"), 1.0)}, "contrast_k is nan"),
        ({"test_share": 1.5}, r"test_share is 1\.5"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        CeilingOptions(**options)
    assert "\n" not in str(caught.value)


def test_the_command_draws_the_view_asked_for(tmp_path):
    def command(*words):
        line = [sys.executable, "-m", "infdet_deploy", "dataset", "synth", *words]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=False)

    done = command("data", "--view", "ceiling", "--clips", "2", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "data: 2 recordings in videos/" in done.stdout
    assert "--preset array" in done.stdout
    assert sorted(path.name for path in (tmp_path / "data" / "videos").iterdir()) == [
        "ceiling_0000.npz",
        "ceiling_0001.npz",
    ]
    refused = command("other", "--view", "floor")
    assert refused.returncode == 2
    assert "floor" in refused.stderr
    assert not (tmp_path / "other").exists()

"""examples/real_falls on small arrays made here: the data set's times, the judge's numbers, every method once."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

from infdet_deploy import AnnotationError, Clip, Instance, UsageError, VideoError, open_dataset, read_video
from infdet_deploy.datasets.instances import ScoredInstance
from tests.paths import ROOT

FOLDER = ROOT / "examples" / "real_falls"
ROWS = [(20, 29, "falling1"), (32, 40, "lie"), (60, 69, "sitdown"), (72, 80, "sit"), (85, 94, "standup")]


@pytest.fixture
def module(monkeypatch):
    """A function that imports a file of the example; they import one another by name, as programs in a folder do."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def recording(seed):
    """Frames [120, 16, 16] in °C with a warm spot that moves in every action, and their times, 0.1 s apart."""
    rng = np.random.default_rng(seed)
    frames = 24 + 0.02 * rng.normal(size=(120, 16, 16)).astype(np.float32)
    row = 4
    for index in range(120):
        row += any(first <= index <= last for first, last, _ in ROWS) and index % 2
        frames[index, row % 12 : row % 12 + 3, 6:9] += 0.8
    return frames, 0.5 + 0.1 * np.arange(120)


@pytest.fixture
def published(tmp_path):
    """Two days of two recordings each: one day as logs, one as an archive. In the first recording, frames are lost."""
    folder = tmp_path / "published"
    (folder / "annotation").mkdir(parents=True)
    (folder / "20170203" / "raw").mkdir(parents=True)
    arrays = {}
    for number, (day, name) in enumerate((day, f"{day}_p{n}") for day in ("20170203", "20170206") for n in (1, 2)):
        frames, times_s = recording(number)
        if number == 0:
            times_s[25:] += 1.0  # within the fall
        if day == "20170203":
            header = "2017/02/03 17:28:07\nTime (sec),PTAT," + ",".join(f"P{i:03}" for i in range(256)) + "\n"
            rows = [
                ",".join(map(str, [round(float(t), 3), 24.5, *f.ravel()])) for t, f in zip(times_s, frames, strict=True)
            ]
            (folder / day / "raw" / f"{name}.csv").write_text(header + "\n".join(rows) + "\n")
        else:
            arrays |= {name: frames, f"{name}.time_s": times_s.astype(np.float32)}
        with open(folder / "annotation" / f"annotation_{day}_human.csv", "a") as file:
            file.writelines(f"{name}.csv,{first},{last},{tag},human1\n" for first, last, tag in ROWS)
    np.savez(folder / "20170206.npz", **arrays)
    return folder


@pytest.fixture
def data(module, published, tmp_path):
    assert module("data_set").make_data_set(published, tmp_path / "data", "20170206") == {"20170203": 2, "20170206": 2}
    return tmp_path / "data"


def test_actions_have_the_times_of_their_frames(data):
    dataset = open_dataset(data)
    assert dataset.classes == ("fall", "sitdown", "standup")
    clips = {clip.name: clip for clip in dataset.clips}
    assert {name: clip.subset for name, clip in clips.items()} == {
        "20170203_p1": "training", "20170203_p2": "training", "20170206_p1": "testing", "20170206_p2": "testing"
    }  # fmt: skip
    found = [(one.label, one.start_s, one.end_s) for one in clips["20170206_p1"].instances]
    assert found == [("fall", 2.0, 3.0), ("sitdown", 6.0, 7.0), ("standup", 8.5, 9.5)]
    # A second is lost after frame 24: the fall, which ends after it, is longer and everything else later.
    found = [(one.label, one.start_s, one.end_s) for one in clips["20170203_p1"].instances]
    assert found == [("fall", 2.0, 4.0), ("sitdown", 7.0, 8.0), ("standup", 9.5, 10.5)]
    assert clips["20170203_p1"].duration_s == pytest.approx(13.0)
    assert clips["20170203_p2"].duration_s == pytest.approx(12.0)


def test_other_labels_are_in_a_side_file(data, module):
    lie = module("judge").read_segments(data)["20170206_p2"][1]
    assert (lie.label, lie.start_s, lie.end_s, lie.person) == ("lie", 3.2, 4.1, "human1")


def test_the_package_reads_the_recordings(data):
    for name in ("20170203_p1", "20170206_p1"):
        video = read_video(open_dataset(data).media[name])
        assert video.frames.shape == (120, 16, 16)
        assert video.timestamps_s[-1] == pytest.approx(12.9 if name == "20170203_p1" else 11.9, abs=1e-5)


def test_logs_are_read_as_published(module, published):
    log = module("data_set").read_log(published / "20170203" / "raw" / "20170203_p2.csv")
    frames, times_s = recording(1)
    np.testing.assert_array_equal(log.frames, frames)
    np.testing.assert_allclose(log.times_s, times_s)


@pytest.mark.parametrize("program", ["data_set.py", "run.py"])
def test_a_missing_test_day_is_one_line(published, tmp_path, program):
    pytest.importorskip("torch")
    day = ["--test-day", "20170210"] if program == "data_set.py" else ["--days", "20170210"]
    line = [sys.executable, str(FOLDER / program), str(published), str(tmp_path / "out"), *day]
    result = subprocess.run(line, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"--test-day is 20170210, {published} has annotations of 20170203, 20170206\n"


def test_wrong_files_are_named(module, published, tmp_path):
    make, out = module("data_set").make_data_set, tmp_path / "out"
    rows = published / "annotation" / "annotation_20170206_human.csv"
    text = rows.read_text()
    for wrong, message in (
        ("20170206_p1.csv,5,fall,human1\n", r"line 1 is not: file, first frame"),
        ("20170206_p1.csv,100,120,lie,human1\n", r"lie from frame 100 to 120; the recording has frames 0 to 119"),
        ("20170206_p9.csv,1,2,lie,human1\n", r"annotations of 20170206_p9, but no such recording"),
    ):
        rows.write_text(wrong)
        with pytest.raises(AnnotationError, match=message):
            make(published, out, "20170206")
    rows.write_text(text)
    (published / "20170203" / "raw" / "20170203_p3.csv").write_text("a\nb\n1,2,x\n")
    with pytest.raises(VideoError, match=r"20170203_p3.csv: not a log of 16×16 pixels"):
        make(published, out, "20170206")
    (published / "20170206.npz").unlink()
    with pytest.raises(UsageError, match=r"no recordings of 20170206; expected 20170206/raw/\*.csv or 20170206.npz"):
        list(module("data_set").read_day(published, "20170206"))


def example(module):
    """Two clips, an hour together, with annotations and detections whose numbers are known."""
    segment = module("data_set").Segment
    a = (Instance("fall", 100, 102), Instance("sitdown", 300, 302), Instance("standup", 400, 402))
    clips = [Clip("a", 1800.0, "testing", a), Clip("b", 1800.0, "testing", (Instance("fall", 500, 502),))]
    segments = {
        "a": [segment("falling1", 100, 102, "x"), segment("lie", 103, 105, "x"), segment("sitdown", 300, 302, "x")],
        "b": [segment("falling2", 500, 502, "y"), segment("lie", 503, 505, "y")],
    }
    found = [
        ScoredInstance("a", "fall", 100, 102, 0.9),
        ScoredInstance("a", "fall", 700, 702, 0.8),  # false
        ScoredInstance("b", "fall", 500, 501, 0.7),  # IoU 0.5: not above it
        ScoredInstance("b", "fall", 900, 902, 0.6),  # false, but only after every fall is found
        ScoredInstance("a", "sitdown", 310, 312, 0.9),  # false; none is found
        ScoredInstance("a", "standup", 110, 112, 0.9),  # getting up after the fall
        ScoredInstance("a", "standup", 299, 301, 0.8),  # its centre is where the next segment begins: false
        ScoredInstance("b", "standup", 1700, 1702, 0.7),  # getting up: nothing follows until the end
        ScoredInstance("a", "standup", 400, 402, 0.6),
    ]
    return clips, found, segments


def test_the_judge_counts(module):
    judgement = module("judge").judge(*example(module))
    every, without = judgement.all, judgement.without_rising
    assert judgement.hours == 1.0
    assert judgement.left_out == 2
    assert every.ap["fall"] == {"0.1": pytest.approx(5 / 6), "0.3": pytest.approx(5 / 6), "0.5": 0.5, "0.7": 0.5}
    assert every.ap["sitdown"]["0.1"] == 0
    assert every.ap["standup"]["0.5"] == 1 / 4
    assert without.ap["standup"]["0.5"] == 1 / 2
    assert every.map["0.5"] == pytest.approx((1 / 2 + 0 + 1 / 4) / 3)
    assert without.map["0.5"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert every.false_per_hour == {"fall": 1.0, "sitdown": None, "standup": 3.0}
    assert without.false_per_hour == {"fall": 1.0, "sitdown": None, "standup": 1.0}


def test_detections_of_one_score_are_reported_together(module):
    clips, found, _ = example(module)
    tied = [*found, ScoredInstance("b", "fall", 50, 52, 0.7)]
    assert module("judge").false_alarms_per_hour(clips, tied, "fall", 1.0) == 2.0


def test_stretches_of_getting_up(module):
    judge, (_, _, segments) = module("judge"), example(module)
    assert judge.rising_stretches(segments["a"], 1800.0) == [(105, 300)]
    assert judge.rising_stretches(segments["b"], 1800.0) == [(505, 1800.0)]
    assert judge.rising_stretches([], 1800.0) == []


def test_judge_command(module, data, monkeypatch, capsys, tmp_path):
    judge, file, report = module("judge"), tmp_path / "found.json", tmp_path / "report.json"
    clips = open_dataset(data).select("testing")
    perfect = [ScoredInstance(c.name, one.label, one.start_s, one.end_s, 1.0) for c in clips for one in c.instances]
    judge.write_detections(file, perfect)
    monkeypatch.setattr(sys, "argv", ["judge.py", str(data), str(file), "--json", str(report)])
    judge.main()
    assert "| mAP | 1.000 | 1.000 | 1.000 | 1.000 |  |" in capsys.readouterr().out
    assert json.loads(report.read_text())["all"]["false_per_hour"] == {"fall": 0.0, "sitdown": 0.0, "standup": 0.0}


def test_ends_lie_between_frames(module):
    decide = module("decide")
    scores = np.zeros((40, 3), np.float32)
    scores[10:20, 1] = [0.4, *[0.8] * 8, 0.6]
    (found,) = decide.detect(Clip("a", 4.0, None, ()), scores, 10.0, decide.Rule(0.0, (0.5, 0.5, 0.5)))
    assert (found.label, found.start_s, found.end_s) == ("sitdown", pytest.approx(0.98), pytest.approx(1.9 + 0.28 / 6))
    assert found.score == pytest.approx(0.74)


def test_smoothing_keeps_constants_and_looks_two_deviations_ahead(module):
    decide = module("decide")
    np.testing.assert_allclose(decide.smooth(np.full((50, 3), 0.3, np.float32), 10.0, 0.3), 0.3, rtol=1e-6)
    impulse = np.zeros((50, 3), np.float32)
    impulse[25] = 1
    assert np.flatnonzero(decide.smooth(impulse, 10.0, 0.3)[:, 0]).tolist() == list(range(19, 32))


def test_features_of_a_known_shape(module):
    warmth = np.zeros((10, 16, 16), np.float32)
    warmth[:, 4, 3:8] = 0.5
    area, total, maximum, row, column, extent, elongation, motion, border = module("features").frame_features(warmth)[5]
    assert (area, total, maximum, row, column, motion, border) == (5, 2.5, 0.5, 4, 5, 0, 4)
    assert (extent, elongation) == (pytest.approx(2**0.5), pytest.approx(21**0.5))
    empty = module("features").frame_features(np.zeros((10, 16, 16), np.float32))[0]
    assert np.isnan(empty[3:7]).all()
    assert (empty[:3] == 0).all()


def test_boosting_runs(module, data):
    pytest.importorskip("sklearn")
    boosting = module("boosting")
    found, rule = boosting.run_boosting(data, seed=0)
    assert {one.video for one in found} <= {"20170206_p1", "20170206_p2"}
    assert boosting.look_ahead_s(rule) == pytest.approx(30 / 25 + 2 * rule.smooth_s)


def test_tcn_learns_and_detects(module, data):
    pytest.importorskip("torch")
    tcn, recordings = module("tcn"), module("recordings")
    training = recordings.read_warmth(data, "training", tcn.FPS)
    network = tcn.train_tcn(training, tcn.TcnOptions(steps=2, batch=2, window=64))
    (scores, _) = tcn.score_tcn(network, training)
    assert scores.shape == (len(training[0].frames), 3)
    assert (scores > 0).all()
    assert (scores < 1).all()


@pytest.mark.slow
def test_infdet_in_the_table(module, published, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from infdet_deploy.model import presets
    from tests.examples.test_examples import small_network

    monkeypatch.setitem(presets.PRESETS, "tiny", small_network())
    network = {"preset": "tiny", "settings": {"steps": 2, "batch": 2, "window_frames": 16, "norm_windows": 2}}
    run = module("run").run
    table = run(published, tmp_path / "work", ["20170206"], [0, 1], ["infdet"], network)
    head, _, line = table.splitlines()
    assert head.startswith("| method | test day | mAP 0.1 | mAP 0.3 | mAP 0.5 | mAP 0.7 | mAP 0.5* | fall 0.5 |")
    assert line.startswith("| infdet | 20170206 | ")
    assert run(published, tmp_path / "work", ["20170206"], [0, 1], ["infdet"], {}) == table  # nothing is repeated
    with pytest.raises(UsageError, match=r"--methods has knn, expected some of boosting, tcn, infdet"):
        run(published, tmp_path / "work", [], [0], ["knn"], network)


def test_segments_become_trimmed_clips(module, published, tmp_path):
    recognition = module("recognition")
    recognition.make_clips(published, tmp_path / "clips")
    found = sorted(
        path.relative_to(tmp_path / "clips").parent.as_posix() for path in (tmp_path / "clips").rglob("*.npz")
    )
    assert found == sorted(f"human1/{tag}" for tag in ("fall", "lie", "sitdown", "sit", "standup") for _ in range(4))
    with np.load(tmp_path / "clips/human1/sitdown/20170206_p1_2.npz") as arrays:  # 1 s at 12 frames/s, up to 16
        assert (arrays["frames"].dtype, arrays["frames"].shape) == (np.uint8, (16, 16, 16))
        assert (arrays["frames"][11:] == arrays["frames"][11]).all()
        assert arrays["frames"].max() >= 64 + 0.7 * 50  # the body, 0.8 K above its background
        assert arrays["times_s"].tolist() == pytest.approx([n / 12 for n in range(16)])

    (tmp_path / "clips/human2/fall").mkdir(parents=True)
    (tmp_path / "clips/human2/fall/x_0.npz").touch()
    recognition.leave_out(tmp_path / "clips", "human2", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data/testing").rglob("*.npz")] == ["human2_x_0.npz"]
    assert len(list((tmp_path / "data/training").rglob("*.npz"))) == 20


def test_five_classes_of_seven(module):
    recognition = module("recognition")
    confusion = recognition.Confusion(
        {("sit", "stand"): 3, ("lie", "fall"): 1, ("walk", "walk"): 4, ("stand", "stand"): 2}
    )
    assert recognition.accuracy(confusion) == pytest.approx(6 / 10)
    joined = recognition.joined(confusion)
    assert joined == {("still", "still"): 5, ("still", "fall"): 1, ("walk", "walk"): 4}
    assert recognition.accuracy(joined) == pytest.approx(9 / 10)
    rows = recognition.table(joined).splitlines()[2:]
    assert rows == ["| fall | 0 | 0 | 0 |", "| still | 1 | 5 | 0 |", "| walk | 0 | 0 | 4 |"]

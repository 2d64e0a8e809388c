import json

import pytest

from infdet_deploy.config import read_json
from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.annotations import read_annotations, write_annotations
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.formats.thumos import read_class_ids
from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.errors import AnnotationError, ConfigError
from tests.paths import INFDET

needs_infdet = pytest.mark.skipif(not INFDET.is_dir(), reason="the published InfDet annotations are not here")


def text(path, content):
    path.write_text(content)
    return path


def as_json(path, value):
    return text(path, json.dumps(value))


def test_text_files_keep_their_order_and_merge_by_clip(tmp_path):
    text(tmp_path / "hug_test.txt", "b 5 6\nb 1 2\n\na 3 4.5")  # no newline at the end
    text(tmp_path / "drop_test.txt", "b 0.5 1\r\n")
    text(tmp_path / "detclasslist.txt", "1 drop\n3 hug\n")
    (tmp_path / "test").mkdir()
    text(tmp_path / "test" / "fight.txt", "c 1 2\n")
    instances = (Instance("drop", 0.5, 1.0), Instance("hug", 5.0, 6.0), Instance("hug", 1.0, 2.0))
    assert read_annotations(tmp_path) == (
        Clip("b", None, "test", instances),
        Clip("a", None, "test", (Instance("hug", 3.0, 4.5),)),
    )


def test_labels_keep_other_underscores(tmp_path):
    text(tmp_path / "high_five.txt", "a 1 2\n")
    text(tmp_path / "long_jump_val.txt", "b 1 2\n")
    found = {clip.name: (clip.subset, clip.instances[0].label) for clip in read_annotations(tmp_path)}
    assert found == {"a": (None, "high_five"), "b": ("val", "long_jump")}
    assert [clip.name for clip in read_annotations(tmp_path, subset="val")] == ["b"]
    with pytest.raises(AnnotationError, match="no clip of subset 'test'; subsets there are None, val"):
        read_annotations(tmp_path, subset="test")


def test_a_clip_in_two_subsets_needs_a_choice(tmp_path):
    text(tmp_path / "hug.txt", "a 1 2\n")
    text(tmp_path / "hug_test.txt", "a 1 2\n")
    with pytest.raises(
        AnnotationError, match=r"hug_test\.txt:1: clip 'a' is of subset test here and of None at \S+hug\.txt:1"
    ):
        read_annotations(tmp_path)
    assert len(read_annotations(tmp_path, subset="test")[0].instances) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 1", r"hug\.txt:2: got 'a 1', expected 'video start_s end_s'"),
        ("a 1 2 3", r"hug\.txt:2: got"),
        ("a one 2", r"hug\.txt:2: got 'one', expected a finite number"),
        ("a nan 2", r"hug\.txt:2: got 'nan'"),
        ("a 1 inf", r"hug\.txt:2: got 'inf'"),
        ("a 3 2", r"hug\.txt:2: end 2\.0 s is not after start 3\.0 s"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    text(tmp_path / "hug.txt", f"a 1 2\n{line}\n")
    with pytest.raises(AnnotationError, match=message):
        read_annotations(tmp_path)


def test_missing_and_empty(tmp_path):
    with pytest.raises(AnnotationError, match="no annotation files"):
        read_annotations(tmp_path)
    text(tmp_path / "hug.txt", "\n")
    with pytest.raises(AnnotationError, match="no clips in it"):
        read_annotations(tmp_path)
    with pytest.raises(AnnotationError, match="no such file"):
        read_annotations(tmp_path / "absent.json")
    with pytest.raises(AnnotationError, match="no such file"):
        read_detections(tmp_path / "absent.txt")
    with pytest.raises(AnnotationError, match="no such folder"):
        read_class_ids(tmp_path / "absent")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(
        AnnotationError, match=r"bytes\.json:1: cannot be read: not UTF-8, perhaps UTF-16; convert it: iconv"
    ):
        read_annotations(tmp_path / "bytes.json")
    (tmp_path / "windows.json").write_bytes('{\n"Küche": {}}'.encode("cp1252"))
    with pytest.raises(AnnotationError, match=r"windows\.json:2: cannot be read: not UTF-8, perhaps CP1252"):
        read_annotations(tmp_path / "windows.json")


def test_activitynet_json(tmp_path):
    rows = [{"label": "hug", "segment": [5, 6.5]}, {"label": "drop", "segment": [1, 2]}]
    entries = {
        "a": {"subset": "validation", "duration": 60, "annotations": rows, "url": "ignored"},
        "b": {"annotations": []},
    }
    path = as_json(tmp_path / "x.json", {"version": "1", "taxonomy": [], "database": entries})
    first = Clip("a", 60.0, "validation", (Instance("hug", 5.0, 6.5), Instance("drop", 1.0, 2.0)))
    assert read_annotations(path) == (first, Clip("b", None, None, ()))
    assert read_annotations(path, subset="validation") == (first,)
    with pytest.raises(AnnotationError, match="no clip of subset 'test'; subsets there are None, validation"):
        read_annotations(path, subset="test")


def test_a_readme_is_no_class_file(tmp_path):
    text(tmp_path / "readme.txt", "Corridor, night.\nCamera 2, recorded from 22 to 23\n\nOne clip lasts 10 s\n")
    with pytest.raises(AnnotationError, match=r"no annotation files, expected one \.txt per class"):
        read_annotations(tmp_path)
    text(tmp_path / "hug.txt", "a 1 2\nb 3\n")
    with pytest.raises(AnnotationError, match=r"hug\.txt:2: got 'b 3', expected 'video start_s end_s'"):
        read_annotations(tmp_path)
    text(tmp_path / "hug.txt", "a 1 2\n")
    assert read_annotations(tmp_path) == (Clip("a", None, None, (Instance("hug", 1.0, 2.0),)),)


def test_infdet_json(tmp_path):
    entry = {"subset": "testing", "duration": 80.5, "actions": [[2, 6.44, 8.36], ["drop", 1, 2]]}
    path = as_json(tmp_path / "infdet.json", {"hug_000004": entry})
    instances = (Instance("hug", 6.44, 8.36), Instance("drop", 1.0, 2.0))
    assert read_annotations(path) == (Clip("hug_000004", 80.5, "testing", instances),)
    assert read_annotations(path, classes=("x", "y", "z"))[0].instances[0].label == "z"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"actions": [[0, 1, 2], [3, 1, 2]]}, r"clip 'c', actions\[1\]: unknown class 3"),
        ({"actions": [[-1, 1, 2]]}, "unknown class -1"),
        ({"actions": [[True, 1, 2]]}, "unknown class True"),
        ({"actions": [[0, 1]]}, r"expected \[class, start_s, end_s\]"),
        ({"actions": [[0, 2, 1]]}, r"clip 'c', actions\[0\]: end 1\.0 s is not after"),
        ({"actions": [[0, float("nan"), 1]]}, "got nan"),
        ({"actions": [[0, None, 1]]}, "got None"),
        ({"actions": [], "duration": 0}, "clip 'c', duration: end 0"),
        ({"actions": [], "subset": 3}, "subset is 3"),
        ({}, r"x\.json: no clips found, expected ActivityNet \('database'\), InfDet \('actions'\)"),
        ([], "no clips found"),
    ],
)
def test_bad_infdet_json(tmp_path, entry, message):
    with pytest.raises(AnnotationError, match=message):
        read_annotations(as_json(tmp_path / "x.json", {"c": entry}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "hug"}, r"clip 'c', annotations\[0\]: 'segment' is None"),
        ({"label": "hug", "segment": [1]}, r"segment is \[1\]"),
        ({"label": 3, "segment": [1, 2]}, "'label' is 3"),
        ({"label": "hug", "segment": [2, 1]}, "is not after"),
        ("hug", "'label' is None"),
    ],
)
def test_bad_activitynet_json(tmp_path, row, message):
    with pytest.raises(AnnotationError, match=message):
        read_annotations(as_json(tmp_path / "x.json", {"database": {"c": {"annotations": [row]}}}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n]", r"x\.json:2: not valid JSON"),
        ("{}", "no clips found"),
        ("[1]", r"x\.json: task 0: no video named"),
        ("[]", "no clips in it"),
        ('{"database": {}}', "no clips in it"),
        ('{"database": []}', "'database' is"),
        ('{"c": {"actions": []},\n"c": {"actions": []}}', r"x\.json:2: key 'c' occurs twice"),
    ],
)
def test_json_without_clips(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_annotations(text(tmp_path / "x.json", content))


def test_class_ids(tmp_path):
    assert read_class_ids(tmp_path) == {1: "drop", 2: "fight", 3: "hug"}
    text(tmp_path / "detclasslist.txt", "7 Diving\n22 HighJump")
    assert read_class_ids(tmp_path) == {7: "Diving", 22: "HighJump"}
    for content, message in [("x hug", ":1: class id"), ("1 a\n1 b", ":2: class 1 b repeats"), ("", "no classes")]:
        text(tmp_path / "detclasslist.txt", content)
        with pytest.raises(AnnotationError, match=message):
            read_class_ids(tmp_path)


def test_detections_in_every_format(tmp_path):
    expected = [ScoredInstance("v", "hug", 1.5, 2.5, 0.75), ScoredInstance("w", "drop", 0.0, 1.0, 0.5)]
    thumos = text(tmp_path / "d.txt", "v 1.5 2.5 3 0.75\nw 0 1 1 0.5")
    ours = [
        {"video": d.video, "detections": [{k: getattr(d, k) for k in ("label", "start_s", "end_s", "score")}]}
        for d in expected
    ]
    assert read_detections(thumos, None) == expected
    assert read_detections(as_json(tmp_path / "ours.json", {"videos": ours}), None) == expected
    results = {d.video: [{"label": d.label, "score": d.score, "segment": [d.start_s, d.end_s]}] for d in expected}
    assert read_detections(as_json(tmp_path / "net.json", {"results": results}), None) == expected
    assert [d.label for d in read_detections(thumos, {3: "a", 1: "b"})] == ["a", "b"]


def test_files_without_detections(tmp_path):
    assert read_detections(text(tmp_path / "d.txt", "")) == []
    assert read_detections(as_json(tmp_path / "d.json", {"results": {"v": []}})) == []
    assert read_detections(as_json(tmp_path / "d.json", {"videos": []})) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v 1 2 4 0.5", r"d\.txt:2: unknown class id 4; known are 1 drop, 2 fight, 3 hug"),
        ("v 1 2 hug 0.5", r"d\.txt:2: class id is 'hug'"),
        ("v 1 2 3", r"d\.txt:2: got 'v 1 2 3', expected"),
        ("v 1 2 3 nan", r"d\.txt:2: got 'nan'"),
        ("v 2 1 3 0.5", r"d\.txt:2: end"),
    ],
)
def test_bad_detection_lines(tmp_path, line, message):
    with pytest.raises(AnnotationError, match=message):
        read_detections(text(tmp_path / "d.txt", f"v 1 2 3 0.5\n{line}\n"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "expected a 'results' or a 'videos' entry"),
        ({"results": []}, "'results' is"),
        ({"results": {"v": [{"label": "hug", "segment": [1, 2]}]}}, "video 'v', detection 0, score: got None"),
        ({"results": {"v": [{"label": "hug", "segment": [2, 1], "score": 1}]}}, "video 'v', detection 0: end"),
        ({"results": {"v": ["hug"]}}, "video 'v', detection 0: 'label' is None"),
        ({"videos": [{"video": "v"}]}, r"videos\[0\]: 'detections' is None"),
        ({"videos": [{"video": "v", "detections": [{"label": "hug"}]}]}, "video 'v', detection 0: got None"),
    ],
)
def test_bad_detection_json(tmp_path, value, message):
    with pytest.raises(AnnotationError, match=message):
        read_detections(as_json(tmp_path / "d.json", value))


def test_written_clips_read_back_equal(tmp_path):
    clips = (Clip("a", 12.5, "test", (Instance("hug", 0.1, 0.30000000000000004),)), Clip("b", None, None, ()))
    write_annotations(tmp_path / "x.json", clips)
    assert read_annotations(tmp_path / "x.json") == clips


def test_default_classes(tmp_path):
    clips = (Clip("a", None, None, (Instance("wave", 1.0, 2.0), Instance("fall", 3.0, 4.0))),)
    write_annotations(tmp_path / "x.json", clips)
    assert json.loads((tmp_path / "x.json").read_text())["classes"] == ["fall", "wave"]
    assert write_annotations(tmp_path / "x.json", clips, "infdet", ("wave", "fall")) == (
        "class names (indices count wave, fall)",
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": {"actions": [[0, 1.0, 2.0], [1, 3.0, 4.0]]}}


def test_unreadable_values_are_not_written(tmp_path):
    clip = Clip("a", None, None, (Instance("hug", 2.0, 1.0),))
    for clips in ([clip], [Clip("a", None, None, ())] * 2):
        with pytest.raises(AnnotationError, match="clip 'a'"):
            write_annotations(tmp_path / "x.json", clips)
    assert not (tmp_path / "x.json").exists()


@needs_infdet
def test_the_published_annotations_have_the_paper_s_counts():
    clips = read_annotations(INFDET)
    counts = {"drop": [0, 0, 0], "fight": [0, 0, 0], "hug": [0, 0, 0]}
    for instance in (instance for clip in clips for instance in clip.instances):
        duration_s = round(instance.end_s - instance.start_s, 6)  # two of fight last 5 s, counted as 5–10 s
        counts[instance.label][(duration_s >= 5) + (duration_s > 10)] += 1
    assert len(clips) == 234
    assert counts == {"drop": [279, 2, 0], "fight": [75, 123, 12], "hug": [332, 17, 3]}
    assert {clip.subset for clip in read_annotations(INFDET / "test")} == {"test"}
    assert read_class_ids(INFDET / "test") == {1: "drop", 2: "fight", 3: "hug"}


def test_ambiguous_intervals_are_no_class(tmp_path):
    folder = tmp_path / "thumos"
    folder.mkdir()
    text(folder / "detclasslist.txt", "7 Diving\n")
    text(folder / "Diving_test.txt", "a 1 2\n")
    text(folder / "Ambiguous_test.txt", "a 4 5\nb 6 7\n")
    expected = (
        Clip("a", None, "test", (Instance("Diving", 1.0, 2.0),), ambiguous=(Instance("Ambiguous", 4.0, 5.0),)),
        Clip("b", None, "test", (), ambiguous=(Instance("Ambiguous", 6.0, 7.0),)),
    )
    data = open_dataset(folder)
    assert (sorted(data.clips, key=lambda clip: clip.name), data.classes) == (list(expected), ("Diving",))
    for form in ("activitynet", "thumos", "infdet"):
        write_annotations(tmp_path / form, data.clips, form, data.classes)
        again = read_annotations(tmp_path / form, classes=data.classes)
        assert {clip.name: (clip.instances, clip.ambiguous) for clip in again} == {
            clip.name: (clip.instances, clip.ambiguous) for clip in expected
        }


def test_rows_without_length_are_left_out_with_a_note(tmp_path, capsys):
    text(tmp_path / "hug.txt", "a 1 2\na 2 2\n")
    assert len(read_annotations(tmp_path)[0].instances) == 1
    assert capsys.readouterr().err == f"note: {tmp_path}/hug.txt:2: hug at 2 s has no length; left out\n"
    rows = [{"label": "hug", "segment": [0, 0]}, {"label": "hug", "segment": [1, 2]}]
    path = as_json(tmp_path / "x.json", {"database": {"a": {"annotations": rows}}})
    assert read_annotations(path)[0].instances == (Instance("hug", 1.0, 2.0),)
    found = {"results": {"a": [{"label": "hug", "segment": [5, 5], "score": 0.9}]}}
    assert read_detections(as_json(tmp_path / "d.json", found)) == [ScoredInstance("a", "hug", 5.0, 5.0, 0.9)]


def test_labels_are_cleaned_or_refused(tmp_path):
    labels = (" fall", "fall\u200b \n", "", "\t", "a\x1b[31m", "\udce9")
    rows = [{"label": label, "segment": [1, 2]} for label in labels]
    path = as_json(tmp_path / "x.json", {"database": {"a": {"annotations": rows}}})
    errors, notes = [], []
    data = open_dataset(path, report=errors.append, notes=notes)
    assert [one.label for one in data.clips[0].instances] == ["fall", "fall"]
    assert [note.rpartition("annotations")[2] for note in notes] == [
        "[0]: label ' fall' is taken as 'fall'", "[1]: label 'fall\u200b \\n' is taken as 'fall'"
    ]  # fmt: skip
    assert [str(error).rpartition("annotations")[2] for error in errors] == [
        "[2]: the label is empty; name a class or remove the entry",
        "[3]: the label is empty; name a class or remove the entry",
        r"[4]: label 'a\x1b[31m' has control characters or is not UTF-8; rename it",
        r"[5]: label '\udce9' has control characters or is not UTF-8; rename it",
    ]
    path = as_json(tmp_path / "x.json", {"classes": ["fall", "fall "], "database": {"a": {"annotations": rows[:1]}}})
    with pytest.raises(AnnotationError, match="expected each name once"):
        open_dataset(path)


def test_many_notes_are_counted(tmp_path, capsys):
    rows = [{"label": " fall", "segment": [n, n + 1]} for n in range(20)]
    open_dataset(as_json(tmp_path / "x.json", {"database": {"a": {"annotations": rows}}}))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "note: … and 15 more notes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"v_a": {"duration_second": 20.0, "annotations": []}}, "it looks like mmaction2's: put its clips into"),
        ({"classes": ["fall"], "labels": {"a": None}}, "it looks like FiftyOne's temporal detections"),
        ({"images": [], "videos": []}, "its keys are 'images', 'videos'"),
        ([{"data": {"vid": "a.mp4"}}], r"no video named, expected 'video' in its data; its keys are 'vid'"),
    ],
)
def test_the_reason_is_told(tmp_path, content, message):
    path = as_json(tmp_path / "x.json", content)
    with pytest.raises(AnnotationError, match=message):
        read_annotations(path)
    with pytest.raises(AnnotationError, match=message):
        open_dataset(path, report=lambda error: None)


def test_the_reason_for_rows_with_commas(tmp_path):
    text(tmp_path / "fall.txt", "a,1.0,3.5\nb,2.0,3.0\n")
    with pytest.raises(AnnotationError, match=r"fall\.txt:1: got 'a,1\.0,3\.5', expected 'video start_s end_s'"):
        read_annotations(tmp_path)


def test_two_annotators_and_the_frame_rate_of_label_studio(tmp_path, capsys):
    def row(label, last):
        value = {"ranges": [{"start": 1, "end": last}], "timelinelabels": [label]}
        return {"result": [{"type": "timelinelabels", "value": value}]}

    annotations = [row("fall", 25) | {"id": 4}, row("wave", 50) | {"id": 9, "ground_truth": True}]
    path = as_json(tmp_path / "x.json", [{"id": 12, "data": {"video": "a.mp4"}, "annotations": annotations}])
    assert read_annotations(path, fps=25.0)[0].instances == (Instance("wave", 0.0, 2.0),)
    assert capsys.readouterr().err == (
        f"note: {path}:1: task 0 (id 12): 2 annotations (9, 4), the first is taken; cancel or delete the others\n"
    )
    read_annotations(path, fps=lambda name: 25.0)
    assert "Label Studio counts frames at the frameRate of its <Video> tag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"), [("[" * 100_000, "nested too deeply"), (f"[{'9' * 5000}]", "a number is too long")]
)
def test_json_that_python_does_not_read(tmp_path, content, reason):
    path = text(tmp_path / "x.json", content)
    with pytest.raises(AnnotationError, match=rf"x\.json: not valid JSON \({reason}\)"):
        read_annotations(path)
    with pytest.raises(ConfigError, match=rf"x\.json: not valid JSON \({reason}\)"):
        read_json(path)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"data": {"video": "a.mp4"}, "annotations": 5}, "'annotations' is 5, expected a list"),
        ({"data": {"video": "a.mp4"}, "annotations": [{"result": 5}]}, "'result' is 5, expected a list"),
        ({"data": {"video": "http://[b/a.mp4"}}, r"video 'http://\[b/a.mp4' is not an address"),
    ],
)
def test_malformed_label_studio_tasks(tmp_path, task, reason):
    path = as_json(tmp_path / "x.json", [task])
    with pytest.raises(AnnotationError, match=rf"x\.json:1: task 0: {reason}"):
        read_annotations(path, fps=25.0)
    empty = as_json(tmp_path / "y.json", [{"data": {"video": "a.mp4"}, "annotations": None}])
    assert read_annotations(empty, fps=25.0)[0].instances == ()


def test_two_recordings_of_one_name_in_a_detection_file(tmp_path):
    videos = [{"video": "a", "path": f"{camera}/a.mp4", "detections": []} for camera in ("c1", "c2")]
    with pytest.raises(AnnotationError, match=r"videos\[1\]: video 'a' occurs twice, here for c2/a\.mp4"):
        read_detections(as_json(tmp_path / "d.json", {"videos": videos}))


@pytest.mark.parametrize(
    ("label", "subset"),
    [("walk/run", None), ("../evil", None), ("a\\b", None), (".a", None), ("hand_test", None), ("detclasslist", None)],
)
def test_class_names_that_thumos_text_cannot_store(tmp_path, label, subset):
    out = tmp_path / "a" / "out"
    with pytest.raises(AnnotationError, match="rename the class"):
        write_annotations(out, [Clip("v", None, subset, (Instance(label, 1.0, 2.0),))], "thumos")
    assert not out.exists()
    assert [path.name for path in tmp_path.rglob("*")] in ([], ["a"])


def test_a_class_name_with_a_suffix_reads_back_with_a_subset(tmp_path):
    clips = (Clip("v", None, "train", (Instance("hand_test", 1.0, 2.0),)),)
    write_annotations(tmp_path / "out", clips, "thumos")
    assert read_annotations(tmp_path / "out") == clips


@pytest.mark.parametrize("name", ["a/b", "a#b", "a?b", "100%25"])
def test_clip_names_that_label_studio_cannot_store(tmp_path, name):
    with pytest.raises(AnnotationError, match="names of videos cannot contain"):
        write_annotations(tmp_path / "x.json", [Clip(name, None, None, ())], "label-studio", fps=25.0)

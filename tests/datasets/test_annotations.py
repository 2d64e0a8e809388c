import json

import pytest

from infdet_deploy.datasets.annotations import read_annotations, write_annotations
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.formats.thumos import read_class_ids
from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.errors import AnnotationError
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
        ("a 2 2", r"hug\.txt:2: end"),
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
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_annotations(tmp_path / "bytes.json")


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

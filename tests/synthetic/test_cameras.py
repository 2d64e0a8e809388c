"""Varied cameras: every kind is drawn as its name says, and clips without actions have none."""

import json

import numpy as np
import pytest

av = pytest.importorskip("av")
pytest.importorskip("cv2")

from infdet_deploy.synthetic.cameras import NAMES, SENSORS, any_camera
from infdet_deploy.synthetic.dataset import SynthesizeOptions, render_clip, synthesize
from infdet_deploy.synthetic.figures import joints, pose

SHORT = SynthesizeOptions(fps=6.0, clip_s=(10.0, 12.0), varied=True)


def test_twenty_kinds_of_cameras():
    assert len(NAMES) == len(set(NAMES)) == 20
    assert {name.rpartition("-")[2] for name in NAMES} == {f"{columns}x{rows}" for rows, columns in SENSORS}


@pytest.mark.parametrize("name", ["side-near-80x60", "above-far-160x120"])
def test_a_camera_is_as_its_name_says(name):
    cameras = [any_camera(np.random.default_rng(n), name) for n in range(50)]
    view, distance, size = name.split("-")
    assert {f"{c.columns}x{c.rows}" for c in cameras} == {size}
    assert all((c.pitch > 0.5) == (view == "above") for c in cameras)
    assert all((c.stature_px > 0.45 * c.rows) == (distance == "near") for c in cameras)
    assert {c.level > 85 for c in cameras} == {True, False}  # warm ground and cold
    assert all(c.level + 1.1 * c.contrast[1] < 255 for c in cameras)


def test_seen_from_above_people_are_shorter_and_show_what_lies_before_them():
    standing, lying = np.tile(pose(), (1, 1)), np.tile(pose(lean=1.5, hip_a=-1.5, hip_b=-1.5), (1, 1))
    x, to_camera = np.zeros(1), np.zeros(1)
    height = [np.ptp(joints(standing, x, to_camera, pitch)[0, :, 1]) for pitch in (0.0, np.pi / 3)]
    assert height[1] / height[0] == pytest.approx(0.5, abs=0.1)
    flat = [np.ptp(joints(lying, x, to_camera, pitch)[0, :, 1]) for pitch in (0.0, np.pi / 3)]
    assert flat[0] < 0.3
    assert flat[1] > 0.6


def test_a_quiet_clip_has_people_but_no_action():
    frames, annotations = render_clip(np.random.default_rng(1), "quiet", SHORT)
    assert annotations == []
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 40  # somebody moves


def test_sitting_is_a_class_of_its_own():
    options = SynthesizeOptions(fps=6.0, classes=("drop", "sit"))
    _, annotations = render_clip(np.random.default_rng(3), "sit", options)
    assert {a["label"] for a in annotations} <= {"drop", "sit"}
    assert sum(a["label"] == "sit" for a in annotations) >= 2
    assert all(2.0 < a["segment"][1] - a["segment"][0] <= 8.0 for a in annotations if a["label"] == "sit")


def test_the_shutter_freezes_some_pictures():
    def longest_standstill(n):
        rng = np.random.default_rng(n)
        camera = any_camera(rng, "side-near-80x60")
        frames, _ = render_clip(rng, "quiet", SHORT, camera)
        still = (np.diff(frames.astype(int), axis=0) == 0).all(axis=(1, 2))
        return camera.freezes, int(still.sum())

    found = [longest_standstill(n) for n in range(12)]
    assert {freezes for freezes, _ in found} == {True, False}
    assert all((still >= 1) == freezes for freezes, still in found)


def test_a_varied_set_names_camera_and_label(tmp_path):
    out = synthesize(tmp_path / "set", SynthesizeOptions(8, 2, fps=6.0, clip_s=(10.0, 10.0), quiet=True, varied=True))
    content = json.loads((out / "annotations.json").read_text())
    names = list(content["database"])
    assert names[:5] == [
        *(f"{NAMES[0]}_{label}_0000" for label in ("drop", "fight", "hug", "quiet")), f"{NAMES[1]}_drop_0001",
    ]  # fmt: skip
    assert content["classes"] == ["drop", "fight", "hug"]
    for name, entry in content["database"].items():
        assert bool(entry["annotations"]) == ("quiet" not in name)
        columns, rows = map(int, name.split("_")[0].rpartition("-")[2].split("x"))
        with av.open(str(out / "videos" / f"{name}.mp4")) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == (columns, rows)

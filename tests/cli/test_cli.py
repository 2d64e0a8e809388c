"""Commands as a user meets them: one line for every mistake, JSON that a program can read."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network, save_network
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video.sample import sample_frames
from tests.processor import HAS_INT8


def command(*arguments, cwd=None):
    """Run infdet-deploy in a process of its own."""
    words = [sys.executable, "-m", "infdet_deploy.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, check=False)


def assert_refused(result, *words):
    assert result.returncode in (1, 2), result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("infdet-deploy: "), result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in lines if line.startswith("infdet-deploy:")]) == 1
    for word in words:
        assert word in lines[-1]


def write_video(path, frames, fps=25):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "gray"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_bundle):
    """A bundle, weights, videos good and bad."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copytree(tiny_bundle, folder / "a.infdet")
    network = random_network(preset("tiny"))
    save_network(folder / "w.safetensors", network, network.config)
    torch.save({"a": torch.zeros(3)}, folder / "u.pt")
    write_video(folder / "good.mkv", sample_frames(48, 64))
    write_video(folder / "short.mkv", sample_frames(9, 64))
    data = (folder / "good.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    (folder / "empty.mkv").touch()
    (folder / "text.mkv").write_text("not a video\n" * 50)
    return folder


@pytest.mark.parametrize(
    ("video", "word"),
    [
        ("none.mkv", "no such file"),
        ("text.mkv", "text.mkv"),
        ("empty.mkv", "empty"),
        ("short.mkv", "16"),
    ],
)
def test_bad_video(folder, video, word):
    assert_refused(command("detect", folder / "a.infdet", folder / video), video, word)


def test_what_decodes_of_a_cut_video_is_used_unless_strict(folder):
    done = command("detect", folder / "a.infdet", folder / "cut.mkv")
    assert done.returncode == 0
    assert "cut short or damaged: 28 of 48 frames decode (the data ends at 1.12 s of 1.92 s)" in done.stderr
    assert_refused(command("detect", folder / "a.infdet", folder / "cut.mkv", "--strict"), "cut.mkv", "28 of 48 frames")


def test_changed_byte_and_missing_stage(folder, tmp_path):
    broken = tmp_path / "b.infdet"
    shutil.copytree(folder / "a.infdet", broken)
    file = broken / "head.float32.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert_refused(command("detect", broken, folder / "good.mkv"), "head.float32.onnx", "changed")
    file.unlink()
    assert_refused(command("detect", broken, folder / "good.mkv"), "head.float32.onnx", "missing")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("bench", "--preset", "huge"), "huge"),
        (("export",), "train first"),
        (("export", "none.safetensors"), "none.safetensors"),
        (("eval", "a", "--data", "b", "--protocol", "c"), "protocol"),
        (("train", "--steps", "0", "--data", "none"), "steps is 0"),
        (("import-weights", "none.pt", "--out", "a.safetensors"), "none.pt"),
        (("complexity", "--frames", "3"), "16"),
    ],
)
def test_bad_request(tmp_path, arguments, word):
    assert_refused(command(*arguments, cwd=tmp_path), word)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("detect", "BUNDLE", "good.mkv", "--backend", "tensorflow"), ("tensorflow", "openvino, onnxruntime")),
        (("detect", "BUNDLE", "good.mkv", "--precision", "int8"), ("int8",)),
        (("detect", "BUNDLE", "good.mkv", "--precision", "bfloat16"), ("bfloat16", "it has float32")),
        (("bench", "BUNDLE", "--backends", "tensorflow"), ("tensorflow", "openvino, onnxruntime")),
        (("bench", "BUNDLE", "--runs", "0"), ("--runs is 0",)),
        (("bench", "BUNDLE", "--preset", "tiny"), ("not both",)),
        (("export", "WEIGHTS", "--out", "bundle.onnx"), ("bundle.onnx", "NAME.infdet")),
        (("import-weights", "any.pt", "--out", "w.pt"), ("w.pt", "NAME.safetensors")),
        (("export", "FOREIGN"), ("u.pt", "import-weights")),
        (
            ("import-weights", "any.pt", "--out", "w.safetensors", "--tower", "both"),
            ("both", "not one of 'infrared', 'flow'"),
        ),
    ],
)
def test_request_that_does_not_fit(folder, tmp_path, arguments, words):
    shutil.copy(folder / "good.mkv", tmp_path)
    named = {"BUNDLE": folder / "a.infdet", "WEIGHTS": folder / "w.safetensors", "FOREIGN": folder / "u.pt"}
    assert_refused(command(*(named.get(a, a) for a in arguments), cwd=tmp_path), *words)
    assert [p.name for p in tmp_path.iterdir()] == ["good.mkv"]


def test_class_list_that_does_not_fit(folder, tmp_path):
    network = random_network(preset("tiny"))
    file = tmp_path / "w.safetensors"
    save_network(file, network, dataclasses.replace(network.config, classes=("one",)))
    assert_refused(command("export", file, cwd=tmp_path), "classifier")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.safetensors"]


def test_full_disk(folder, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        weights = folder / "full.safetensors"
        network = random_network(preset("tiny"))
        save_network(weights, network, network.config)
        result = command("export", weights, "--out", small / "x.infdet")
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


def test_detect_json_equals_the_library(folder):
    result = command("detect", folder / "a.infdet", folder / "good.mkv", "--json")
    assert result.returncode == 0, result.stderr
    (video,) = json.loads(result.stdout)["videos"]
    with Detector(folder / "a.infdet") as detector:
        found = detector.detect(folder / "good.mkv")
    assert video["frames"] == 48
    assert [(d["label"], d["start_s"], d["end_s"]) for d in video["detections"]] == [
        (d.label, d.start_s, d.end_s) for d in found
    ]
    np.testing.assert_allclose([d["score"] for d in video["detections"]], [d.score for d in found], atol=1e-6)


def test_one_bad_recording_does_not_lose_the_others(folder, tmp_path):
    result = command("detect", folder / "a.infdet", folder / "text.mkv", folder / "good.mkv", "--json")
    assert_refused(result, "text.mkv")
    bad, good = json.loads(result.stdout)["videos"]
    assert "text.mkv" in bad["error"]
    assert good["frames"] == 48


def test_bench_json(folder):
    words = ("--frames", "32", "--runs", "3", "--backends", "all", "--precision", "float32", "--json")
    result = command("bench", folder / "a.infdet", *words)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert {c["backend"] for c in report["contenders"]} >= {"openvino"}
    for row in report["contenders"]:
        ms = row["latency_ms"]
        assert 0 < ms["min"] <= ms["median"] <= ms["p90"] <= ms["p99"] <= ms["max"]
        assert row["frames_per_s"]["max"] == pytest.approx(32 / ms["min"] * 1000)
    assert report["paper"] is None  # the paper's figure is for its own network


def test_verify_json(folder):
    result = command("verify", folder / "a.infdet", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["passed"]
    assert {s["stage"] for s in report["stages"]} == {"fen", "infrared_tower", "flow_tower", "head"}
    assert max(s["relative_l2"] for s in report["stages"] if s["precision"] == "float32") < 1e-4


def test_eval_json(tmp_path):
    annotations = {"database": {"a": {"annotations": [{"label": "hug", "segment": [1.0, 3.0]}]}}}
    found = {"version": "1", "results": {"a": [{"label": "hug", "segment": [1.0, 2.5], "score": 0.9}]}}
    for name, content in (("truth.json", annotations), ("found.json", found)):
        (tmp_path / name).write_text(json.dumps(content))
    result = command("eval", tmp_path / "found.json", "--data", tmp_path / "truth.json", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert list(report["protocols"]) == ["thumos14", "activitynet"]
    for found in report["protocols"].values():
        assert found["map"] == {str(iou): 1.0 for iou in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)}  # IoU 0.75
        assert found["ap"] == {"hug": found["map"]}


def test_complexity_json():
    report = json.loads(command("complexity", "--json").stdout)
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert report["multiply_adds"] == pytest.approx(374.4e9, rel=1e-3)
    assert stages["fen"]["parameters"] == 3_345_091
    assert report["fen_parameters_with_projection"] == 3_410_627


def test_doctor_json():
    report = json.loads(command("doctor", "--no-measure", "--json").stdout)
    int8 = ["int8"] if HAS_INT8 else []
    assert report["machine"]["cores"] >= 1
    assert report["backends"]["openvino"] == {
        "available": True,
        "precisions": ["float32", "bfloat16", "float16", *int8],
        "refused": [] if int8 else ["int8"],
        "frames_per_s": None,
        "error": None,
    }
    for package in report["packages"].values():
        assert (package["version"] is None) == (package["install"] is not None)


def test_doctor_measures_the_pretrained_network():
    done = command("doctor")
    (row,) = [line.split() for line in done.stdout.splitlines() if line.split()[:2] == ["openvino", "ready"]]
    assert float(row[-1]) > 12.5  # frames/s, real time
    assert done.stdout.count("\n") < 45


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ("train",), "train"),
        ("torch", ("complexity",), "train"),
        ("cv2", ("dataset", "synth", "data"), "train"),
        ("onnx", ("export", "WEIGHTS"), "export"),
        ("torch", ("bench",), "train"),
    ],
)
def test_a_package_that_is_not_installed(folder, tmp_path, package, arguments, extra):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == '{package}':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    words = [str(folder / "w.safetensors") if a == "WEIGHTS" else a for a in arguments]
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    line = [sys.executable, "-m", "infdet_deploy.cli", *words]
    result = subprocess.run(line, capture_output=True, text=True, cwd=work, env=environment, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert f"needs the package {package}: pip install 'infdet-deploy[{extra}]'" in result.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys, infdet_deploy.cli\n"
        "print([m for m in ('torch', 'numpy', 'openvino', 'av', 'cv2') if m in sys.modules])\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"

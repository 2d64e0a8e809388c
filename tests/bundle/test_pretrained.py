"""The network in the package: found by its name, never changed, and as good as documented."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.bundle.loading import load_bundle, store_thresholds
from infdet_deploy.bundle.pretrained import FOLDER, PRETRAINED, bundle_folder
from infdet_deploy.errors import UsageError
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.thresholds import scored_instances


@pytest.fixture
def drawn(tmp_path):
    """Twelve clips of small varied cameras as a data set, with seeds that nothing was chosen on."""
    pytest.importorskip("cv2")
    from infdet_deploy.synthetic import cameras, dataset

    options = dataset.SynthesizeOptions(fps=25.0, clip_s=(12.0, 14.0), quiet=True, varied=True)
    (tmp_path / "set" / "videos").mkdir(parents=True)
    database = {}
    for index in range(12):
        rng, label = np.random.default_rng([77, index]), options.clip(index)[1]
        frames, annotations = dataset.render_clip(
            rng, label, options, cameras.any_camera(rng, cameras.NAMES[index % 8])
        )
        dataset.write_video(tmp_path / "set" / "videos" / f"{index}.mp4", frames, 25.0, crf="18", preset="veryfast")
        database[str(index)] = {"subset": "testing", "annotations": annotations}
    content = {"classes": list(dataset.CLASSES), "database": database}
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(content))
    return tmp_path / "set"


def test_its_name_stands_for_the_installed_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundle_folder(PRETRAINED) == FOLDER
    assert bundle_folder("other.infdet") == Path("other.infdet")
    bundle = load_bundle(PRETRAINED)
    assert bundle.classes == ("drop", "fight", "hug")
    assert (bundle.preparation.size, bundle.preparation.frame_rate) == (64, 12.5)
    assert bundle.rule.ends == "interpolated"
    assert bundle.incremental is not None  # watch can use it
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 4_000_000
    (tmp_path / PRETRAINED).mkdir()
    assert bundle_folder(PRETRAINED) == Path(PRETRAINED)  # what a user has of this name comes first


def test_it_finds_drawn_actions(drawn):
    from infdet_deploy import Detector, read_annotations

    clips = read_annotations(drawn / "annotations.json")
    with Detector(PRETRAINED) as detector:
        found = [(clip.name, detector.detect(drawn / "videos" / f"{clip.name}.mp4")) for clip in clips]
    scores = mean_average_precision(clips, scored_instances(found), "thumos14", ("drop", "fight", "hug"))
    assert scores.map["0.5"] > 0.6  # 0.8 to 0.9 over 600 clips, docs/results.md
    quiet = [detections for (name, detections) in found if not next(c for c in clips if c.name == name).instances]
    assert sum(map(len, quiet)) <= 1


def test_it_is_never_changed(tmp_path, command):
    bundle = load_bundle(PRETRAINED)
    with pytest.raises(UsageError, match="belongs to the installation"):
        store_thresholds(bundle, (0.1, 0.1, 0.1))
    result = command("sign", PRETRAINED, "--key", tmp_path / "key.pem")
    assert result.returncode == 2
    assert "export pretrained" in result.stderr
    assert load_bundle(PRETRAINED).rule == bundle.rule


def test_detect_without_a_bundle_and_without_torch(tmp_path, clip_file):
    """The first command after installation, in a folder without a bundle."""
    blocked = "import sys; [sys.modules.__setitem__(n, None) for n in ('torch', 'onnx', 'safetensors', 'cv2')]; "
    line = [sys.executable, "-c", f"{blocked}from infdet_deploy.cli import main; main()", "detect", str(clip_file)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no bundle here, using `pretrained`" in done.stderr
    assert "synthetic scenes only" in done.stderr
    assert "60 frames" in done.stdout or "30 frames" in done.stdout


def test_training_and_export_start_from_it(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from infdet_deploy.exporting.export import ExportOptions, export
    from infdet_deploy.training.run_folder import checkpoint_file

    monkeypatch.chdir(tmp_path)
    weights = checkpoint_file(Path(PRETRAINED))
    assert weights == FOLDER / "weights.safetensors"
    options = ExportOptions(("float32",), formats=("onnx",), incremental=False)
    exported = export(PRETRAINED, options=options)
    assert exported.path == Path("pretrained.infdet")
    own, installed = load_bundle("pretrained.infdet"), load_bundle(FOLDER)
    assert (own.rule, own.fps, own.preparation) == (installed.rule, installed.fps, installed.preparation)
    assert own.digest("weights.safetensors") == installed.digest("weights.safetensors")
    with pytest.raises(UsageError, match="belongs to the installation"):
        export(PRETRAINED, FOLDER, options)


def test_a_bundle_without_weights_is_no_start(tmp_path, stream_bundle):
    from infdet_deploy.errors import InfdetError
    from infdet_deploy.training.run_folder import checkpoint_file

    copy = shutil.copytree(stream_bundle, tmp_path / "a.infdet")
    with pytest.raises(InfdetError, match=r"has no weights\.safetensors; use the run"):
        checkpoint_file(copy)

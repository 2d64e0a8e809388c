"""The cache of compiled stages; without a usable cache, stages open and compute the same."""

import os
import stat
import subprocess
import sys

import numpy as np
import openvino
import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.errors import BundleError, UsageError
from infdet_deploy.runtime import compiled_cache
from infdet_deploy.runtime.backends import openvino as backend
from infdet_deploy.runtime.backends.base import StageSource
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.compiled_stages import open_bundle_stage
from infdet_deploy.runtime.detector import Detector


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("INFDET_CACHE", raising=False)
    return tmp_path / "infdet-deploy" / "compiled"


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture
def compilations(monkeypatch):
    """How often a model was read to be compiled: the names of the files."""
    seen, read = [], openvino.Core.read_model
    monkeypatch.setattr(
        openvino.Core, "read_model", lambda self, path: seen.append(os.path.basename(path)) or read(self, path)
    )
    return seen


CLIP = np.random.default_rng(0).integers(0, 256, (16, 64, 64), np.uint8)


def features(bundle, precision="float32", shapes=None):
    stage = open_bundle_stage(bundle, "infrared_tower", "openvino", precision, shapes)
    found = stage.run({"frames": CLIP})["features"].copy()
    stage.close()
    return found


def test_a_second_start_compiles_nothing(root, bundle, compilations):
    first = features(bundle)
    assert compilations == ["infrared_tower.float32.onnx"]
    for _ in range(2):
        assert np.array_equal(features(bundle), first)
    assert len(compilations) == 1
    fixed = {"frames": CLIP.shape}
    np.testing.assert_allclose(features(bundle, shapes=fixed), first, rtol=1e-5)
    features(bundle, "float16")
    assert len(compilations) == len(list(root.iterdir())) == 3  # an entry each


def damages(entry, way):
    if way == "truncated":
        os.truncate(entry, entry.stat().st_size // 2)
    elif way == "empty":
        os.truncate(entry, 0)
    elif way == "three bytes":
        entry.write_bytes(b"abc")
    elif way == "a changed byte":
        with entry.open("r+b") as file:
            file.seek(entry.stat().st_size // 2)
            file.write(bytes([file.read(1)[0] ^ 1]))
    elif way == "another entry's name":
        compiled_cache.store("other", b"a stage of another network" * 100)
        (entry.parent / "other.blob").replace(entry)
    elif way == "a link":
        entry.replace(entry.parent.parent / "elsewhere.blob")
        entry.symlink_to(entry.parent.parent / "elsewhere.blob")
    elif way == "writable by others":
        entry.chmod(0o666)
    else:  # whole, but nothing that OpenVINO wrote
        compiled_cache.store(entry.stem, b"no model at all" * 100)


DAMAGES = (
    *("truncated", "empty", "three bytes", "a changed byte", "foreign"),
    *("another entry's name", "a link", "writable by others"),
)


@pytest.mark.parametrize("way", DAMAGES)
def test_a_damaged_entry_is_replaced(root, bundle, compilations, way):
    first = features(bundle)
    (entry,) = root.iterdir()
    damages(entry, way)
    assert np.array_equal(features(bundle), first)
    assert np.array_equal(features(bundle), first)
    assert len(compilations) == 2
    assert list(root.iterdir()) == [entry]


def test_turned_off(root, bundle, compilations, monkeypatch):
    monkeypatch.setenv("INFDET_CACHE", "0")
    features(bundle)
    features(bundle)
    assert len(compilations) == 2
    assert not root.exists()


def test_folder_is_not_writable(root, bundle, compilations):
    root.parent.write_text("a file where the folder would be")
    features(bundle)
    features(bundle)
    assert len(compilations) == 2


def test_without_a_home(bundle, compilations, monkeypatch):
    monkeypatch.delenv("INFDET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiled_cache, "user_cache", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    features(bundle)
    assert len(compilations) == 1


@pytest.mark.parametrize(
    "other", [{"openvino": "2"}, {"device": {"features": ["avx2"]}}, {"file": "b"}, {"shapes": {"x": (1, 2)}}, {"p": 1}]
)
def test_key_depends_on_every_setting(other):
    parts = {"openvino": "1", "device": {"features": ["avx2", "avx512f"]}, "file": "a", "shapes": None}
    assert compiled_cache.key_of(**parts) == compiled_cache.key_of(**dict(reversed(parts.items())))
    assert compiled_cache.key_of(**{**parts, **other}) != compiled_cache.key_of(**parts)


def test_another_processor_compiles_again(root, bundle, compilations, monkeypatch):
    features(bundle)
    monkeypatch.setattr(backend, "cpu_features", lambda: {"sse4_2"})
    features(bundle)
    assert len(compilations) == 2


def test_a_file_that_changes_while_it_is_opened_is_not_cached(root, bundle):
    path = bundle.stage_file("infrared_tower", "float32")
    other = bundle.digest("flow_tower.float32.onnx")
    source = StageSource(path, "float32", ("frames",), ("features",), digest=other)
    get_backend("openvino").open_stage(source).close()
    assert not root.exists()


def test_the_least_recently_used_entry_is_deleted(root, monkeypatch):
    monkeypatch.setattr(compiled_cache, "MAX_BYTES", 3000)
    for index, key in enumerate("abc"):
        compiled_cache.store(key, bytes(964))
        os.utime(root / f"{key}.blob", (index, index))
    assert compiled_cache.load("a") is not None  # is now the newest
    compiled_cache.store("d", bytes(964))
    assert sorted(path.stem for path in root.iterdir()) == ["a", "c", "d"]
    compiled_cache.store("large", bytes(3000))
    assert not (root / "large.blob").exists()
    (root / ".e.killed.blob").write_bytes(bytes(2500))
    os.utime(root / ".e.killed.blob", (1, 1))
    compiled_cache.store("f", bytes(964))
    assert sorted(path.stem for path in root.iterdir()) == ["a", "d", "f"]


WRITER = """
import sys, zlib
from infdet_deploy.errors import BundleError, UsageError
from infdet_deploy.runtime import compiled_cache
for turn in range(60):
    compiled_cache.store("shared", bytes([turn]) * 300_000)
    kept = compiled_cache.load("shared")
    assert kept is not None and len(kept) == 300_000 and kept.min() == kept.max(), turn
"""


def test_several_processes(root):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert [path.name for path in root.iterdir()] == ["shared.blob"]
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_cached_stages_open_while_files_are_checked(root, bundle_copy, compilations, monkeypatch):
    with Detector(bundle_copy) as detector:
        expected = detector.scores(CLIP)
    compiled = len(compilations)
    assert compiled == 4
    with Detector(bundle_copy) as detector:
        assert np.array_equal(detector.scores(CLIP), expected)
    assert len(compilations) == compiled
    weights = bundle_copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    opened, ran, make = [], [], backend.OpenVinoStage.__init__
    monkeypatch.setattr(backend.OpenVinoStage, "__init__", lambda self, *of: opened.append(make(self, *of)))
    monkeypatch.setattr(backend.OpenVinoStage, "run", lambda self, feeds: ran.append(self))
    with pytest.raises(BundleError, match=r"'weights\.safetensors' was changed since it was exported"):
        Detector(bundle_copy)
    assert (len(opened), ran) == (4, [])


def test_damaged_files_are_reported_before_a_wrong_precision(root, bundle_copy):
    with pytest.raises(UsageError, match="has no int8"):
        Detector(bundle_copy, precision="int8")
    (bundle_copy / "head.float32.onnx").unlink()
    with pytest.raises(BundleError, match=r"'head\.float32\.onnx' is missing"):
        Detector(bundle_copy, precision="int8")

"""Every program in examples/ runs, on small synthetic data."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.paths import ROOT

EXAMPLES = ROOT / "examples"


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_listed_and_tested():
    listed = set(re.findall(r"^\| \[([\w./]+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    there = {f"{path.name}/" if path.is_dir() else path.name for path in EXAMPLES.iterdir() if path.name[0] not in "_."}
    assert listed == there - {"README.md"}
    tests = Path(__file__).read_text()
    assert all(name.rstrip("/") in tests for name in listed)


def test_detect_file(stream_bundle, clip_file, capsys):
    load("detect_file.py").main(str(stream_bundle), str(clip_file))
    for line in capsys.readouterr().out.splitlines():
        assert re.fullmatch(r"\w+: \d+\.\d\d to \d+\.\d\d s, score [01]\.\d{3}", line)


def test_live_loop(stream_bundle, clip_file, capsys):
    load("live_loop.py").main(str(stream_bundle), str(clip_file), "120")
    assert capsys.readouterr().out.splitlines()[-1].startswith("clip: 60 frames, 0 dropped")


@pytest.fixture
def custom_backend(tmp_path, monkeypatch):
    """The package examples/custom_backend as pip would install it: its module and its entry point."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((EXAMPLES / "custom_backend" / "pyproject.toml").read_text())["project"]
    ((group, entries),) = project["entry-points"].items()
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(EXAMPLES / "custom_backend")
    monkeypatch.syspath_prepend(tmp_path)


def test_custom_backend(custom_backend, stream_bundle, tiny_clip):
    pytest.importorskip("onnxruntime")
    import numpy as np

    from infdet_deploy import Detector

    with Detector(stream_bundle, "single-thread") as ours, Detector(stream_bundle, "onnxruntime") as reference:
        frames = tiny_clip(32)
        np.testing.assert_allclose(ours.scores(frames), reference.scores(frames), atol=1e-5)

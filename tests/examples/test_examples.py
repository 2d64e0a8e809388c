"""Every program in examples/ runs, on small synthetic data."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from infdet_deploy.model import presets
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


def small_network() -> presets.ModelConfig:
    """Takes the place of the preset `tiny`: fewer and smaller graphs, so that exports are quick."""
    return dataclasses.replace(presets.preset("tiny"), channel_divisor=8, streams="infrared", fusion="self")


def notebook_code(path: Path) -> list[str]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_every_example_is_listed_and_tested():
    listed = set(re.findall(r"^\| \[([\w./]+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    there = {f"{path.name}/" if path.is_dir() else path.name for path in EXAMPLES.iterdir() if path.name[0] not in "_."}
    assert listed == there - {"README.md"}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(name.rstrip("/") in tests for name in listed)


def test_detect_file(stream_bundle, clip_file, capsys):
    load("detect_file.py").main(str(stream_bundle), str(clip_file))
    for line in capsys.readouterr().out.splitlines():
        assert re.fullmatch(r"\w+: \d+\.\d\d to \d+\.\d\d s, score [01]\.\d{3}", line)


@pytest.mark.slow
def test_train_own_data_then_export_and_verify(nine_clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", small_network())
    run, bundle = tmp_path / "run", tmp_path / "own.infdet"
    load("train_own_data.py").main(str(nine_clips), str(run), "2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("9 clips, ")
    assert "'0.5': " in lines[-1]
    load("export_and_verify.py").main(str(run), str(bundle))
    lines = capsys.readouterr().out.splitlines()
    stages = {"infrared_tower", "infrared_tower_stream", "head"}
    assert {line.split(":")[0] for line in lines} >= {f"{stage} float32" for stage in stages}
    assert lines[-1] == "passed"


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


@pytest.mark.slow
def test_quickstart_notebook(tmp_path):
    """quickstart.ipynb with fewer clips and steps and a small network; no outputs are stored in it."""
    notebook = EXAMPLES / "quickstart.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
    code = "\n\n".join(notebook_code(notebook))
    small = code.replace("CLIPS, STEPS = 60, 360", "CLIPS, STEPS = 9, 2")
    assert small != code
    script = tmp_path / "quickstart.py"
    script.write_text(
        "from infdet_deploy.model import presets\nfrom tests.examples.test_examples import small_network\n\n"
        "presets.PRESETS['small'] = small_network()\n\n"
        f"def main():\n    {small.replace(chr(10), chr(10) + '    ')}\n\nif __name__ == '__main__':\n    main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, str(script)]
    result = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "head float32 relative L2" in result.stdout
    assert (tmp_path / "quickstart" / "quickstart.infdet" / "manifest.json").is_file()

"""The public API: quick to import, complete, and known to type checkers."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

import infdet_deploy
from tests.paths import ROOT

HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "cv2", "av", "typer", "rich", "numpy"}
SCRIPT = """
import json, sys, time
start = time.process_time()
import infdet_deploy
print(json.dumps({"seconds": time.process_time() - start, "modules": list(sys.modules)}))
"""


def test_import_is_quick_and_imports_nothing_heavy():
    found = json.loads(subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True).stdout)
    assert found["seconds"] < 0.1
    assert not HEAVY & set(found["modules"])


def test_every_public_name_resolves():
    values = {name: getattr(infdet_deploy, name) for name in infdet_deploy.__all__}
    assert all(value is not None for value in values.values())
    assert len(set(infdet_deploy.__all__)) == len(infdet_deploy.__all__)
    with pytest.raises(AttributeError, match="module 'infdet_deploy' has no attribute 'nonsense'"):
        infdet_deploy.nonsense  # noqa: B018


def test_dir_lists_the_public_names_only():
    assert dir(infdet_deploy) == sorted(infdet_deploy.__all__)


def test_no_public_name_is_a_subpackage():
    folders = {path.stem for path in (ROOT / "infdet_deploy").iterdir()}
    assert not folders & set(infdet_deploy.__all__)


USE = """
from infdet_deploy import Detector

reveal_type(Detector)
detector = Detector("a.infdet", "openvino", "float32")
reveal_type(detector.detect("night.mp4"))
"""
WRONG = "from infdet_deploy import Detector\nDetector(1, 2, 3, nonsense=4)\n"


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("mypy", ("-m", "mypy", "--no-incremental", "--follow-imports=silent", "--no-error-summary")),
        ("pyright", ("-m", "pyright", "--skipunannotated")),
    ],
)
def test_type_checkers_know_the_api(tmp_path, package, line):
    pytest.importorskip(package)
    for name, text in (("use.py", USE), ("wrong.py", WRONG)):
        (tmp_path / name).write_text(text)
    command = [sys.executable, *line, "use.py", "wrong.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    use, wrong = ([line for line in lines if f"{name}.py:" in line] for name in ("use", "wrong"))
    assert len(use) == 2, result.stdout + result.stderr
    assert re.search(r"[Dd]etector", use[0])
    assert "Any" not in use[0]
    assert re.search(r"list\[(infdet_deploy\.detections\.)?Detection\]", use[1])
    assert any("nonsense" in line and "rror" in line for line in wrong)


def public_imports(text: str) -> list[tuple[str, str]]:
    """Module and name of every `from infdet_deploy… import …` in Python code blocks."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    nodes = (node for block in blocks for node in ast.walk(ast.parse(block)))
    return [
        (node.module or "", alias.name) for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    ]


def test_every_public_name_has_its_place_in_the_api_reference():
    names = infdet_deploy._public().items()
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    described = re.findall(r"^::: infdet_deploy\.(\S+)\.(\w+)$", pages, re.MULTILINE)
    described += [("errors", name) for name in re.search(r"members: \[(.*)\]", pages)[1].split(", ")]
    assert sorted(described) == sorted((module.removeprefix("infdet_deploy."), name) for name, module in names)


# Still to become public, or to leave the documentation.
NOT_YET = {"detect", "open_bundle_stage"}


def test_readme_docs_and_examples_use_public_names_only():
    """Except examples/real_falls, which judges other methods with the package's own metrics."""
    wrong = []
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        code = f"```python\n{text}```" if path.suffix == ".py" else text
        for module, name in public_imports(code):
            if (
                name not in NOT_YET
                and module.split(".")[0] == "infdet_deploy"
                and (module != "infdet_deploy" or name not in infdet_deploy.__all__)
            ):
                wrong.append(f"{path.relative_to(ROOT)}: from {module} import {name}")
    assert wrong == []

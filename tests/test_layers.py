"""The import rules of docs/architecture.md, read from the source: who may import whom, and what stays free of torch."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGE = "infdet_deploy"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / PACKAGE).rglob("*.py")
}
# Folders that run on a device without PyTorch. TorchScript is the backend that needs it.
WITHOUT_TORCH = (
    *("archive", "bundle", "datasets", "detections", "live", "metrics", "plots", "runtime", "video"),
    *("config", "console", "errors", "files", "precision", "processes", "snippets", "system"),
)
HEAVY = ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "cv2", "matplotlib")
MAY_IMPORT = {"infdet_deploy.runtime.backends.torchscript": {"torch"}}


def imports(path: Path, *, top_level: bool = False) -> list[str]:
    """Modules that a file imports; with `top_level`, those that importing the file itself imports."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    nodes = _at_import(tree.body) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MODULES else node.module for name in names]
    return found


def _at_import(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that run on import: neither inside functions nor under `if TYPE_CHECKING`."""
    found = []
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            found += _at_import(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            found += _at_import(node.body + node.orelse + node.finalbody)
        else:
            found.append(node)
    return found


def room(module: str) -> str:
    """The folder, or the single file, of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def folder_imports() -> dict[str, set[str]]:
    """Which folders each folder imports from, imports inside functions included."""
    graph = defaultdict(set)
    for module, path in MODULES.items():
        for name in imports(path):
            if name.startswith(f"{PACKAGE}.") and room(name) != room(module) and room(module):
                graph[room(module)].add(room(name))
    return graph


def test_no_circles_between_folders():
    graph = folder_imports()

    def circle(start: str) -> list[str] | None:
        stack, seen = [[start]], set()
        while stack:
            way = stack.pop()
            for other in sorted(graph[way[-1]]):
                if other == start:
                    return [*way, other]
                if other not in seen:
                    seen.add(other)
                    stack.append([*way, other])
        return None

    assert {name: found for name in sorted(graph) if (found := circle(name))} == {}


@pytest.mark.parametrize("folder", WITHOUT_TORCH)
def test_runs_without_torch(folder):
    wrong = {}
    for module, path in MODULES.items():
        if room(module) == folder:
            allowed = MAY_IMPORT.get(module, set())
            # matplotlib and onnxruntime are extras, imported where they are used
            found = {n.split(".")[0] for n in imports(path)} & {"torch", "onnx", "onnxscript", "safetensors", "cv2"}
            found |= {n.split(".")[0] for n in imports(path, top_level=True)} & set(HEAVY)
            if found - allowed:
                wrong[module] = sorted(found - allowed)
    assert wrong == {}


def test_a_device_without_torch_imports_them_all():
    names = [n for n in MODULES if room(n) in WITHOUT_TORCH and not n.endswith("tensorrt.runner")]
    code = f"""
import importlib, sys
for name in {HEAVY!r}:
    sys.modules[name] = None
for name in {sorted(names)!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert len(names) > 60
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("model", {"training", "exporting", "runtime", "bundle"}),
        ("runtime", {"training", "exporting", "model", "benchmarks", "verification", "cli"}),
        ("video", {"runtime", "live", "datasets"}),
        ("bundle", {"runtime", "training", "exporting", "model"}),
        ("training", {"exporting", "cli"}),
    ],
)
def test_what_a_folder_never_imports(folder, never):
    assert folder_imports()[folder] & never == set()


def test_only_the_command_line_is_above_all():
    above = {name for name, others in folder_imports().items() if "cli" in others}
    assert above <= {"__main__"}

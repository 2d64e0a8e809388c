"""The double in place of TensorRT and CUDA, and engines built with it."""

import importlib.machinery
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from infdet_deploy.runtime.backends.tensorrt import build, child
from tests.runtime.backends.tensorrt import double

BACKEND = "infdet_deploy.runtime.backends.tensorrt.runner"


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """`nvidia("10.9.0")`: this process has that version of TensorRT, and the GPU that double.GPU names."""
    pytest.importorskip("onnx")
    monkeypatch.setattr(double, "GPU", dict(double.GPU))
    for state in (double.memory, double.devices, double.graphs, double.capturing, double.launches):
        state.clear()

    def install(version: str) -> types.ModuleType:
        trt = double.tensorrt(version)
        trt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
        cuda, bindings = types.ModuleType("cuda"), types.ModuleType("cuda.bindings")
        cuda.bindings, bindings.runtime = bindings, double.cuda_runtime()
        modules = {"tensorrt": trt, "cuda": cuda, "cuda.bindings": bindings, "cuda.bindings.runtime": bindings.runtime}
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        sys.modules.pop(BACKEND, None)  # it holds the module it was imported with
        build._loggers.clear()

        def here(package: str, *arguments: object) -> build.Built:
            return build.build_engine(sys.modules[package], *arguments)

        monkeypatch.setattr(child, "build_apart", here)
        return trt

    yield install
    sys.modules.pop(BACKEND, None)
    build._loggers.clear()


@pytest.fixture
def build_bundle() -> Callable[..., dict]:
    """`build_bundle(path, precision="all", …)`: the command's report; short profiles, which compile fast."""
    from infdet_deploy.runtime.backends.tensorrt import bundle_engines as engines

    def run(path: Path, precision: str = "all", target: str = "tensorrt", arch: str | None = None, **others) -> dict:
        options = {"memory_mb": None, "dla": None, "hardware_compatible": False, "version_compatible": False} | others
        return engines.build(path, target, arch, precision, options.pop("frames", "16,48,128"), 1024, **options)

    return run

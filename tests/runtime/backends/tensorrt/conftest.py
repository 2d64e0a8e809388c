"""Fixtures that replace TensorRT and CUDA with the double, and build engines with it."""

import importlib.machinery
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from infdet_deploy.runtime.backends.tensorrt import build, engine
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions
from tests.runtime.backends.tensorrt import double

BACKEND = "infdet_deploy.runtime.backends.tensorrt.runner"


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """`nvidia("10.9.0")`: install the double as that TensorRT version, with the GPU of double.GPU."""
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
        sys.modules.pop(BACKEND, None)  # it keeps the module it was imported with
        engine._loggers.clear()
        monkeypatch.setattr(build, "build_in_child", engine.build_engine)
        return trt

    yield install
    sys.modules.pop(BACKEND, None)
    engine._loggers.clear()


@pytest.fixture
def build_bundle() -> Callable[..., build.BuildResult]:
    """`build_bundle(path, "float16", dla=1)`: `build` with short profiles, which compile fast."""

    def run(path: Path, *precisions: str, **options: object) -> build.BuildResult:
        return build.build(
            path,
            BuildOptions(**{"frames": (16, 48, 128), "clip_frames": 1024, **options}, precisions=precisions or None),
        )

    return run

"""Exported graphs through NVIDIA's own parser and compiler, TensorRT-RTX."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from infdet_deploy.bundle.schema import TensorSpec
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions, profile
from infdet_deploy.runtime.backends.tensorrt.engine import Engine, build_in_child


def built_for_rtx(onnx: Path, inputs: Sequence[TensorSpec], arch: str = "sm86") -> Engine:
    """The engine of a graph; skips the test without TensorRT-RTX. inputs: the stage's."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed here")
    options = BuildOptions("tensorrt-rtx", arch=(arch,))
    return build_in_child(onnx, profile(inputs, options), options)

"""NVIDIA's parser and compiler as a judge of exported graphs, where it is installed."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from infdet_deploy.bundle.schema import TensorSpec
from infdet_deploy.runtime.backends.tensorrt.build import Built
from infdet_deploy.runtime.backends.tensorrt.child import build_apart
from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions, profile


def built_for_rtx(onnx: Path, inputs: Sequence[TensorSpec], arch: str = "sm86") -> Built:
    """An engine of a graph; skips where TensorRT-RTX is not installed. inputs: the stage's."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed here")
    options = BuildOptions(arch=(arch,))
    return build_apart("tensorrt_rtx", onnx, profile(inputs, options), options)

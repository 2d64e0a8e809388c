"""The multiply-adds of a stage's graph, counted from its convolutions and matrix products."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import openvino

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.exporting.stages import StageSpec
from infdet_deploy.model.complexity import count
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import feature_length

COUNTED_FRAMES = 100  # the clip that counts are for, the paper's


def multiply_adds(path: Path, spec: StageSpec, frames: int = COUNTED_FRAMES) -> int:
    """What the ONNX file at `path` computes for a clip of `frames` frames.

    OpenVINO reads it, since it alone can tell every shape inside the head once the inputs' are fixed. Raises ValueError
    naming the node where one cannot be told.
    """
    sizes = {"T": frames, "T+1": frames + 1, "T'": feature_length(frames)}
    model = openvino.Core().read_model(str(path))
    model.reshape({i.name: [n if isinstance(n, int) else sizes[n] for n in i.shape] for i in spec.inputs})
    return sum(_node(node) for node in model.get_ordered_ops())


def stage_work(
    folder: Path, stages: Mapping[str, Mapping[str, Any]], specs: Mapping[str, StageSpec], config: ModelConfig
) -> dict[str, dict[str, int]]:
    """The manifest's `multiply_adds` and `multiply_adds_original` by stage, for those of `stages` (the manifest's) that
    are there as ONNX."""
    # any of its files: the count is the same in every precision
    files = {name: next(iter(entry["files"].get("onnx", {}).values()), None) for name, entry in stages.items()}
    counted = {name: multiply_adds(folder / file, specs[name]) for name, file in files.items() if file}
    original = original_multiply_adds(config) if counted else {}
    return {name: {"multiply_adds": n, "multiply_adds_original": original[name]} for name, n in counted.items()}


def original_multiply_adds(config: ModelConfig, frames: int = COUNTED_FRAMES) -> dict[str, int]:
    """By stage what the network as published computes for such a clip: three equal grey channels, computed thrice."""
    found: dict[str, int] = {}
    for part in count(config, frames):
        stage = part.name if part.name in ("fen", "infrared_tower", "flow_tower") else "head"
        found[stage] = found.get(stage, 0) + part.multiply_adds
    return found | {NETWORK: sum(found.values())}


def _node(node: Any) -> int:
    kind = node.get_type_name()
    if kind not in ("Convolution", "ConvolutionBackpropData", "MatMul"):
        if kind in ("GroupConvolution", "GroupConvolutionBackpropData", "Einsum"):
            raise ValueError(f"{node.get_friendly_name()}: multiply-adds of {kind} are not counted")
        return 0
    shapes = [port.get_partial_shape() for port in (*node.inputs(), *node.outputs())]
    if any(shape.is_dynamic for shape in shapes):
        raise ValueError(f"{node.get_friendly_name()}: its shape cannot be told")
    first, second, out = (tuple(shape.to_shape()) for shape in (*shapes[:2], shapes[-1]))
    if kind == "Convolution":
        return prod(out) * prod(second[1:])
    if kind == "ConvolutionBackpropData":
        return prod(first) * prod(second[1:])
    return prod(out) * (first[-2] if node.get_attributes()["transpose_a"] and len(first) > 1 else first[-1])

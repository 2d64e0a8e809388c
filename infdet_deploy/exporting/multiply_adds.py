"""The multiply-adds of a stage's graph: those of its convolutions and matrix products."""

from math import prod
from pathlib import Path
from typing import Any

import openvino

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.manifest import COUNTED_FRAMES
from infdet_deploy.bundle.schema import StageSpec
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.model.complexity import count
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.snippets import feature_length


def multiply_adds(path: Path, spec: StageSpec, frames: int = COUNTED_FRAMES) -> int:
    """The multiply-adds of the ONNX file at `path` for a clip of `frames` frames.

    OpenVINO reads the file because it infers every shape once the inputs' shapes are fixed. Raises ValueError naming a
    node whose shape is unknown.
    """
    sizes = {"T": frames, "T+1": frames + 1, "T'": feature_length(frames)}
    model = openvino.Core().read_model(str(path))
    model.reshape({i.name: [n if isinstance(n, int) else sizes[n] for n in i.shape] for i in spec.inputs})
    return sum(_node(node) for node in model.get_ordered_ops())


def write_flops(draft: Draft) -> None:
    """Add `multiply_adds` and `multiply_adds_original` of each ONNX stage to the manifest."""
    original = original_multiply_adds(draft.network.config)
    for name, entry in draft.manifest["stages"].items():
        for file in list(entry["files"].get("onnx", {}).values())[:1]:  # the count is the same in every precision
            entry["multiply_adds"] = multiply_adds(draft.folder / file, draft.specs[name])
            entry["multiply_adds_original"] = original[name]


def original_multiply_adds(config: ModelConfig, frames: int = COUNTED_FRAMES) -> dict[str, int]:
    """By stage, the multiply-adds of the network as published, which computes three equal grey channels."""
    counts: dict[str, int] = {}
    for part in count(config, frames):
        stage = part.name if part.name in ("fen", "infrared_tower", "flow_tower") else "head"
        counts[stage] = counts.get(stage, 0) + part.multiply_adds
    return counts | {NETWORK: sum(counts.values())}


def _node(node: Any) -> int:
    kind = node.get_type_name()
    if kind not in ("Convolution", "ConvolutionBackpropData", "MatMul"):
        if kind in ("GroupConvolution", "GroupConvolutionBackpropData", "Einsum"):
            raise ValueError(f"{node.get_friendly_name()}: multiply-adds of {kind} are not counted")
        return 0
    shapes = [port.get_partial_shape() for port in (*node.inputs(), *node.outputs())]
    if any(shape.is_dynamic for shape in shapes):
        raise ValueError(f"{node.get_friendly_name()}: its shape is unknown")
    first, second, out = (tuple(map(int, shape.to_shape())) for shape in (*shapes[:2], shapes[-1]))
    if kind == "Convolution":
        return prod(out) * prod(second[1:])
    if kind == "ConvolutionBackpropData":
        return prod(first) * prod(second[1:])
    return prod(out) * (first[-2] if node.get_attributes()["transpose_a"] and len(first) > 1 else first[-1])

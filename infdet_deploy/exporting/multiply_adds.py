"""The multiply-adds of an exported stage: those of its convolutions and matrix products."""

import torch

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.manifest import COUNTED_FRAMES
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.stages.build import build_stage
from infdet_deploy.model.complexity import count, multiply_adds
from infdet_deploy.snippets import feature_length


def write_multiply_adds(draft: Draft) -> None:
    """Add `multiply_adds` and `multiply_adds_original` of each ONNX stage to the manifest.

    The original is the network as published, which computes three equal grey channels.
    """
    sizes = {"T": COUNTED_FRAMES, "T+1": COUNTED_FRAMES + 1, "T'": feature_length(COUNTED_FRAMES)}
    original: dict[str, int] = {"head": 0}
    for part in count(draft.network.config, COUNTED_FRAMES):
        stage = part.name if part.name in draft.specs else "head"
        original[stage] = original.get(stage, 0) + part.multiply_adds
    original[NETWORK] = sum(original.values())
    for name, entry in draft.manifest["stages"].items():
        if "onnx" in entry["files"]:
            module = build_stage(name, draft.network, torch.float32, conv2d=draft.options.conv2d).to("meta")
            with torch.device("meta"):
                shapes = [[n if isinstance(n, int) else sizes[n] for n in i.shape] for i in draft.specs[name].inputs]
                dtypes = [getattr(torch, i.dtype) for i in draft.specs[name].inputs]
                inputs = [torch.empty(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
                entry["multiply_adds"] = multiply_adds(module, *inputs)
            entry["multiply_adds_original"] = original[name]

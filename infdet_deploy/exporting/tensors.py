"""Every stage's tensors: their names, dtypes and shapes, and the network's own values."""

import numpy as np
import torch

from infdet_deploy.bundle.golden import Tensors, stage_tensors
from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.schema import STAGES_OF, StageSpec, TensorSpec
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.snippets import valid_length

NEXT = "next."  # the output NEXT + NAME of an incremental tower is the input NAME of the next step


def stage_specs(network: InfDetNet) -> dict[str, StageSpec]:
    """The specs of this network's stages and of `network`, all stages in one graph."""
    config = network.config
    size, small, d = config.size, config.flow_size, config.features
    flow = TensorSpec("flow", "float32", ("T", config.flow_channels, small, small))
    frames = TensorSpec("frames", "uint8", ("T", size, size))
    features = TensorSpec("features", "float32", ("T'", d))
    streams = {"both": ("infrared", "flow")}.get(config.streams, (config.streams,))
    head_inputs = (
        *(TensorSpec(f"{stream}_features", "float32", ("T'", d)) for stream in streams),
        TensorSpec("length", "int64", (1,)),
    )
    scores = TensorSpec("scores", "float32", ("T'", len(config.classes)))
    specs = {
        "fen": StageSpec((TensorSpec("frames", "uint8", ("T+1", size, size)),), (flow,)),
        "infrared_tower": StageSpec((frames,), (features,)),
        "flow_tower": StageSpec((flow,), (features,)),
        "head": StageSpec(head_inputs, (scores,)),
        NETWORK: StageSpec((frames,), (scores,)),
    }
    return {name: specs[name] for name in (*STAGES_OF[config.streams], NETWORK)}


def golden_arrays(network: InfDetNet, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Frames uint8 [T, S, S] and all that the network computes from them, as in a golden clip (`bundle/golden.py`)."""
    with torch.inference_mode():
        out = network(to_grey(torch.from_numpy(frames))[None])
        arrays = {"scores": torch.sigmoid(out.logits), "infrared_features": out.infrared_features}
        arrays |= {"flow_features": out.flow_features, "flow": out.flow}
        computed = {name: array[0].numpy() for name, array in arrays.items() if array is not None}
    return {"frames": frames, "length": np.array([valid_length(len(frames))], np.int64), **computed}


def eager_tensors(network: InfDetNet, frames: np.ndarray) -> Tensors:
    """Every stage's inputs and outputs as the network computes them in PyTorch; frames: uint8 [T, S, S]."""
    return stage_tensors(golden_arrays(network, frames))

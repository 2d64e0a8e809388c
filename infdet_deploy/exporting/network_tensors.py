"""The network's own tensors, with which every exported stage is compared."""

import numpy as np
import torch

from infdet_deploy.bundle.golden import Tensors, with_network
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.snippets import valid_length


def eager_tensors(network: InfDetNet, frames: np.ndarray) -> Tensors:
    """Every stage's inputs and outputs as the network computes them in PyTorch.

    frames: uint8 [T, S, S]. Returns stage → tensor name → array.
    """
    with torch.inference_mode():
        out = network(to_grey(torch.from_numpy(frames))[None])
        scores = torch.sigmoid(out.logits[0]).numpy()
    head = {"length": np.array([valid_length(len(frames))], np.int64), "scores": scores}
    tensors = {"head": head}
    if out.infrared_features is not None:
        features = head["infrared_features"] = out.infrared_features[0].numpy()
        tensors["infrared_tower"] = {"frames": frames, "features": features}
    if out.flow is not None and out.flow_features is not None:
        flow, features = out.flow[0].numpy(), out.flow_features[0].numpy()
        head["flow_features"] = features
        tensors |= {"fen": {"frames": frames, "flow": flow[:-1]}, "flow_tower": {"flow": flow, "features": features}}
    return with_network(tensors, frames)

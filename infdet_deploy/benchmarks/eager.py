"""The original network as its authors run it: eager PyTorch, float32, three equal grey channels, nothing folded."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from infdet_deploy.bundle.loading import WEIGHTS, Bundle
from infdet_deploy.model.fen import neighbour_pairs
from infdet_deploy.model.network import InfDetNet, append_zero_flow, to_grey
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import load_network, random_network
from infdet_deploy.runtime.detector import Timings, clock
from infdet_deploy.snippets import valid_length

Floats = npt.NDArray[np.float32]


def reference_network(bundle: Bundle, preset_name: str | None) -> InfDetNet:
    """A bundle's network from its weights; without weights, the preset's with seeded random weights."""
    weights = bundle.path / WEIGHTS
    if weights.is_file():
        return load_network(weights)[0]
    assert preset_name is not None
    return random_network(preset(preset_name))


def run(
    network: InfDetNet, frames: npt.NDArray[np.uint8], timings: Timings | None = None
) -> tuple[dict[str, Floats], Floats]:
    """frames uint8 [T, S, S] → features {`infrared_features`, `flow_features`} float32 [T', d], scores float32 [T', C].

    The same numbers as with one grey channel, at the cost of three. `timings` gains the seconds of each stage.
    """
    features: dict[str, Tensor] = {}
    with torch.inference_mode():
        grey = to_grey(torch.from_numpy(frames))  # [T, S, S]
        if network.infrared_tower is not None:
            with clock(timings, "infrared_tower"):
                features["infrared_features"] = network.infrared_tower(grey.expand(3, *grey.shape)[None].contiguous())
        if network.fen is not None:
            with clock(timings, "fen"):
                # [T−1, 6, h, w]: three copies of frame t, then three of frame t+1
                pairs = neighbour_pairs(grey, network.config.flow_stride).repeat_interleave(3, dim=1)
                flow = append_zero_flow(network.fen(pairs)[None])
            with clock(timings, "flow_tower"):
                features["flow_features"] = network.flow_to_features(flow)
        with clock(timings, "head"):
            fused = network.fusion(*features.values()).fused
            logits = network.classifier(fused, torch.tensor([valid_length(len(frames))]))
            scores: Floats = torch.sigmoid(logits[0]).numpy()
    return {name: tensor[0].numpy() for name, tensor in features.items()}, scores

"""Convert foreign weights: checkpoints of the original implementation, and Kinetics I3D towers."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import UsageError, WeightsError
from infdet_deploy.model.i3d import I3D
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig, preset
from infdet_deploy.model.weights import check_shape, load_network, random_network, read_state_dict, save_network

_STEM = "Conv3d_1a_7x7.conv3d.weight"  # an entry that every I3D checkpoint has
# The original implementation's names → ours, applied in order.
_RENAMES = (
    (r"^flow_est\.(encoder\.)?", "fen."),
    (r"^(fen\.layer\d)\.0\.", r"\1."),
    (r"\.downsample\.0\.", ".projection."),
    (r"^(fen\.deconv\d)\.0\.", r"\1."),
    (r"^inf_feat_net\.", "infrared_tower."),
    (r"^flow_feat_net\.", "flow_tower."),
    (r"^cmam\.cross_module\.qury_conv\.", "fusion.query."),
    (r"^cmam\.cross_module\.(key|value)_conv\.", r"fusion.\1."),
    (r"^cmam\.(cross_module\.)?", "fusion."),
    (r"^detector\.(sup|super_event)2\.", "classifier.super_event.bank2."),
    (r"^detector\.(sup|super_event)\.", "classifier.super_event.bank1."),
    (r"^detector\.(sub_event\d)\.soft_attn$", r"classifier.\1.mixture"),
    (r"^detector\.(sub_event\d)\.(center|gamma|delta)$", r"classifier.\1.bank.\2"),
    (r"^detector\.cls_wts$", "classifier.super_event.class_weight"),
    (r"^detector\.sup_mat$", "classifier.super_event.matrix"),
    (r"^detector\.h\.", "classifier.hidden."),
    (r"^detector\.classify\.", "classifier.output."),
    (r"^detector\.", "classifier."),
)


@dataclass(frozen=True)
class ImportReport:
    """loaded: number of entries used. unused: names of entries that have no effect on the network."""

    loaded: int
    unused: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"loaded": self.loaded, "unused": list(self.unused)}


def import_weights(
    checkpoint: Path,
    out: Path,
    classes: tuple[str, ...] | None = None,
    tower: Literal["infrared", "flow"] | None = None,
    into: Path | None = None,
) -> ImportReport:
    """Convert a foreign checkpoint to the file `out`, NAME.safetensors.

    classes: names in the weights' order, InfDet's by default. tower: for a Kinetics I3D checkpoint, which tower it is.
    into: with `tower`, the checkpoint whose tower is replaced; a random network of preset `infdet` by default.

    Raises UsageError for options that exclude each other, WeightsError for entries that do not fit.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"--out is {out}; weights are written as NAME.safetensors")
    if tower not in (None, "infrared", "flow"):
        raise UsageError(f"--tower is '{tower}', expected infrared or flow")
    state = read_state_dict(checkpoint)
    extra: dict[str, Any] = {"source": checkpoint.name}
    if tower is None:
        if _STEM in state:
            raise UsageError(f"{checkpoint} is one I3D tower; say which with --tower infrared or --tower flow")
        network, report = import_upstream(state, classes)
    else:
        if into is not None:
            network, extra = load_network(into)
        else:
            config = preset("infdet")
            config = dataclasses.replace(config, classes=classes or config.classes)
            if tower == "flow" and _STEM in state:
                config = dataclasses.replace(config, flow_channels=_size(state, _STEM, 1))
            network = random_network(config)
        part = network.flow_tower if tower == "flow" else network.infrared_tower
        if part is None:
            raise UsageError(f"the network has no {tower} tower; name a checkpoint that has one")
        report = load_kinetics(part, state)
    save_network(out, network, network.config, extra)
    return report


def import_upstream(
    state_dict: Mapping[str, Tensor], classes: tuple[str, ...] | None = None
) -> tuple[InfDetNet, ImportReport]:
    """Build the network from the original implementation's state dict, in eval mode.

    The number of classes, flow channels and the layer4 projection follow from the shapes. Raises WeightsError naming
    the first entry that is missing or has another shape, or if `classes` do not fit the weights.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    for name in ("detector.classify.weight", "flow_est.flow_pred.weight"):
        if name not in state:
            raise WeightsError(f"checkpoint entry '{name}' is missing: is this a checkpoint of the original network?")
    count = _size(state, "detector.classify.weight", 0)
    if classes is None:
        classes = INFDET_CLASSES if count == len(INFDET_CLASSES) else tuple(f"class{i}" for i in range(count))
    if len(classes) != count:
        raise WeightsError(f"{len(classes)} classes given ({', '.join(classes)}), the weights have {count}")
    config = ModelConfig(
        classes=classes,
        flow_channels=_size(state, "flow_est.flow_pred.weight", 0),
        fen_projection="flow_est.encoder.layer4.0.downsample.0.weight" in state,
    )
    network = InfDetNet(config)
    expected = network.state_dict()
    found: dict[str, Tensor] = {}
    unused = []
    for name in sorted(state, key=lambda n: ".sup." in n or ".sup2." in n):  # a filter's duplicate name last
        tensor, ours = state[name], name
        for pattern, replacement in _RENAMES:
            ours = re.sub(pattern, replacement, ours)
        if parts := re.fullmatch(r"(classifier\.sub_event\d)\.convs\.(\d{1,4})\.(weight|bias)", ours):
            layer, index, leaf = parts.groups()
            # upstream one 1×1 convolution per output, here one row of a matrix
            ours = f"{layer}.join.{leaf}"
            if ours in expected and int(index) < expected[ours].shape[0]:
                target = found.setdefault(ours, torch.full_like(expected[ours], float("nan")))
                check_shape(name, tensor.flatten(), target[int(index)].reshape(-1))
                target[int(index)] = tensor.flatten() if leaf == "weight" else tensor.flatten()[0]
                continue
        if ours == "classifier.super_event.matrix" and tensor.ndim == 3 and len(tensor):
            tensor = tensor[0]
        if ours in ("classifier.hidden.weight", "classifier.output.weight") and tensor.shape[2:] == (1,):
            tensor = tensor[..., 0]  # upstream a 1×1 convolution, here a linear layer
        if ours not in expected:
            unused.append(name)
        elif ours not in found:
            check_shape(name, tensor, expected[ours])
            found[ours] = tensor
    for ours, tensor in expected.items():
        if ours not in found:
            if ours.endswith("num_batches_tracked"):
                found[ours] = tensor
                continue
            raise WeightsError(f"checkpoint entry for '{ours}' is missing")
        if ".join." in ours and found[ours].isnan().any():
            raise WeightsError(f"checkpoint contains only some of the {tensor.shape[0]} convolutions of '{ours}'")
    network.load_state_dict(found)
    return network.eval(), ImportReport(len(state) - len(unused), tuple(unused))


def _size(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    """A tensor's size along an axis. Raises WeightsError if it has no such axis or nothing along it."""
    shape = state[name].shape
    if len(shape) <= axis or not shape[axis]:
        raise WeightsError(f"checkpoint entry '{name}' is {list(shape)}, expected more than {axis} axes, none empty")
    return shape[axis]


def load_kinetics(tower: I3D, state_dict: Mapping[str, Tensor]) -> ImportReport:
    """Load a Kinetics I3D checkpoint (RGB: 3 input channels, flow: 2) into one tower, in place.

    Raises WeightsError for a missing entry or another shape; the classification layer `logits` is not used.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    expected = tower.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                state[name] = tensor
                continue
            raise WeightsError(f"checkpoint entry '{name}' is missing: expected an I3D checkpoint")
        check_shape(name, state[name], tensor)
    unused = tuple(sorted(set(state) - set(expected)))
    tower.load_state_dict({name: state[name] for name in expected})
    return ImportReport(len(expected), unused)

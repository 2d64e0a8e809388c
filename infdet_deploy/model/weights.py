"""Weights in and out: our checkpoints, the original implementation's, and Kinetics I3D towers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import WeightsError
from infdet_deploy.files import whole_file
from infdet_deploy.model.i3d import I3D
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig

# From the original implementation's names to ours, applied in order.
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
    """loaded: number of entries taken; unused: the checkpoint's names that have no effect on the network."""

    loaded: int
    unused: tuple[str, ...]


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read tensors from `.safetensors` or a PyTorch file, never executing anything stored in it.

    Raises WeightsError for a missing, truncated or unsafe file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no such checkpoint: {path}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # safetensors, zip and pickle each raise their own kinds for damage
        # PyTorch's own text advises loading without safety; it is not passed on.
        kind = type(error).__name__
        raise WeightsError(
            f"{path} cannot be loaded as tensors alone ({kind}): truncated, no checkpoint, or more than tensors"
        ) from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def import_upstream(
    state_dict: Mapping[str, Tensor], classes: tuple[str, ...] | None = None
) -> tuple[InfDetNet, ImportReport]:
    """Build the network from the original implementation's state dict, in eval mode.

    The number of classes, flow channels and the layer4 projection are read from the shapes. Raises WeightsError
    naming the first entry that is missing or has another shape, or when `classes` do not fit the weights.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    for name in ("detector.classify.weight", "flow_est.flow_pred.weight"):
        if name not in state:
            raise WeightsError(f"checkpoint entry '{name}' is missing: is this a checkpoint of the original network?")
    count = state["detector.classify.weight"].shape[0]
    if classes is None:
        classes = INFDET_CLASSES if count == len(INFDET_CLASSES) else tuple(f"class{i}" for i in range(count))
    if len(classes) != count:
        raise WeightsError(f"{len(classes)} classes given ({', '.join(classes)}), the weights have {count}")
    config = ModelConfig(
        classes=classes,
        flow_channels=state["flow_est.flow_pred.weight"].shape[0],
        fen_projection="flow_est.encoder.layer4.0.downsample.0.weight" in state,
    )
    network = InfDetNet(config)
    wanted = network.state_dict()
    found: dict[str, Tensor] = {}
    unused = []
    for name in sorted(state, key=lambda n: ".sup." in n or ".sup2." in n):  # the second name of a filter goes last
        tensor, ours = state[name], name
        for pattern, replacement in _RENAMES:
            ours = re.sub(pattern, replacement, ours)
        if joined := re.fullmatch(r"(classifier\.sub_event\d)\.convs\.(\d+)\.(weight|bias)", ours):
            layer, index, leaf = joined.groups()
            # one 1×1 convolution an output upstream, one row of a matrix here
            ours = f"{layer}.join.{leaf}"
            if ours in wanted and int(index) < wanted[ours].shape[0]:
                target = found.setdefault(ours, torch.full_like(wanted[ours], float("nan")))
                _check_shape(name, tensor.flatten(), target[int(index)].reshape(-1))
                target[int(index)] = tensor.flatten() if leaf == "weight" else tensor[0]
                continue
        if ours == "classifier.super_event.matrix" and tensor.ndim == 3:
            tensor = tensor[0]
        if ours in ("classifier.hidden.weight", "classifier.output.weight") and tensor.shape[2:] == (1,):
            tensor = tensor[..., 0]  # a 1×1 convolution there is a linear layer here
        if ours not in wanted:
            unused.append(name)
        elif ours not in found:
            _check_shape(name, tensor, wanted[ours])
            found[ours] = tensor
    for ours, tensor in wanted.items():
        if ours not in found:
            if ours.endswith("num_batches_tracked"):
                found[ours] = tensor
                continue
            raise WeightsError(f"checkpoint entry for '{ours}' is missing")
        if ".join." in ours and found[ours].isnan().any():
            raise WeightsError(f"checkpoint holds only some of the {tensor.shape[0]} convolutions of '{ours}'")
    network.load_state_dict(found)
    return network.eval(), ImportReport(len(state) - len(unused), tuple(unused))


def from_upstream(state_dict: Mapping[str, Tensor], classes: tuple[str, ...] | None = None) -> InfDetNet:
    """The network of `import_upstream`, without its report."""
    return import_upstream(state_dict, classes)[0]


def load_kinetics(tower: I3D, state_dict: Mapping[str, Tensor]) -> ImportReport:
    """Load a Kinetics I3D checkpoint (RGB: 3 input channels, flow: 2) into one tower, in place.

    Raises WeightsError for a missing entry or another shape; the classification layer `logits` is not used.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    wanted = tower.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                state[name] = tensor
                continue
            raise WeightsError(f"checkpoint entry '{name}' is missing: expected an I3D checkpoint")
        _check_shape(name, state[name], tensor)
    unused = tuple(sorted(set(state) - set(wanted)))
    tower.load_state_dict({name: state[name] for name in wanted})
    return ImportReport(len(wanted), unused)


def _check_shape(name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.shape != wanted.shape:
        raise WeightsError(f"checkpoint entry '{name}' is {list(tensor.shape)}, expected {list(wanted.shape)}")


def save_network(path: Path | str, network: nn.Module, config: ModelConfig, extra: dict | None = None) -> None:
    """Write weights and configuration as one safetensors file, whole or not at all.

    extra: further JSON kept beside the configuration (thresholds, mean durations, where it came from).
    """
    header = {"infdet": json.dumps({"format": 1, "model": config.to_json(), **(extra or {})})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, header))  # save_file hides a full disk behind an error of its own


def load_network(path: Path | str) -> tuple[InfDetNet, dict]:
    """Rebuild the network of `save_network`, in eval mode, and give the extra JSON with it.

    Raises WeightsError when the file is missing, damaged, foreign, or does not fit its own configuration.
    """
    path = Path(path)
    # `sca` is what the fusion was called in the first checkpoints.
    state = {re.sub(r"^sca\.", "fusion.", name): tensor for name, tensor in read_state_dict(path).items()}
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is not a .safetensors file; bring foreign weights in with import-weights")
    with safe_open(path, "pt") as file:
        header = (file.metadata() or {}).get("infdet")
    if header is None:
        raise WeightsError(f"{path} has no configuration in it; bring foreign weights in with import-weights")
    try:
        extra = json.loads(header)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise WeightsError(f"{path} is damaged: its configuration is not a JSON object")
    if extra.pop("format", None) != 1:
        raise WeightsError(f"{path} was written by a newer version; update infdet-deploy")
    config = ModelConfig.from_json(extra.pop("model", None), f"{path}: model")
    network = InfDetNet(config)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise WeightsError(f"{path}: entry '{name}' is missing")
        _check_shape(f"{path}: {name}", state[name], tensor)
    if surplus := sorted(set(state) - set(wanted)):
        raise WeightsError(f"{path}: entry '{surplus[0]}' is not part of the network")
    network.load_state_dict(state)
    return network.eval(), extra


def with_config(network: InfDetNet, config: ModelConfig, seed: int = 0) -> tuple[InfDetNet, list[str]]:
    """A network of another configuration with this one's weights, and the names of the entries that do not fit.

    Those start from seeded random values. The network given is left unchanged.
    """
    other = random_network(config, seed)
    state, wanted = network.state_dict(), other.state_dict()
    anew = [n for n in wanted if n not in state or wanted[n].shape != state[n].shape]
    if config.classes != network.config.classes:
        # Scores of other classes, even as many of them, are not these classes' scores.
        of_classes = re.compile(r"classifier\..*\b(output\.|super_event\.(matrix|class_weight))")
        anew = [n for n in wanted if n in anew or of_classes.match(n)]
    other.load_state_dict({name: wanted[name] if name in anew else state[name] for name in wanted})
    return other, anew


def random_network(config: ModelConfig, seed: int = 0) -> InfDetNet:
    """A network with seeded random weights, in eval mode: for measuring speed, where no weights are needed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return InfDetNet(config).eval()

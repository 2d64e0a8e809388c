"""Write a bundle: every stage compared with the network before it is kept; the folder whole or not at all."""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infdet_deploy import __version__
from infdet_deploy.errors import ParityError
from infdet_deploy.export.onnx import check_precision, export_onnx
from infdet_deploy.export.stages import StageSpec, build_stages, stage_specs
from infdet_deploy.export.torchscript import export_torchscript
from infdet_deploy.files import sha256, whole_folder, write_json
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.model.weights import save_network
from infdet_deploy.runtime.backends.base import open_stage
from infdet_deploy.runtime.bundle import FORMAT, MANIFEST, STAGES, WEIGHTS
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length
from infdet_deploy.video.sample import sample_frames

# Relative L2 against the eager network. PyTorch's float16 kernels on a CPU also add up in float16.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
TORCHSCRIPT_TOLERANCE = {"float32": 1e-4, "float16": 3e-2}
EXAMPLE_FRAMES = 32
CHECK_FRAMES = (16, 44)
# InfDet's mean action lengths (s) and upstream's thresholds, for weights that come without their own.
DEFAULT_THRESHOLDS = {"drop": 0.3, "fight": 0.4, "hug": 0.3}
DEFAULT_DURATIONS_S = {"drop": 1.4326, "fight": 6.1230, "hug": 3.2755}


def default_rule(classes: tuple[str, ...]) -> dict[str, Any]:
    """The detection rule of weights that bring none: InfDet's figures by class name, else 0.5 and 2 s."""
    return {
        "thresholds": [DEFAULT_THRESHOLDS.get(c, 0.5) for c in classes],
        "mean_duration_s": [DEFAULT_DURATIONS_S.get(c, 2.0) for c in classes],
        "split_long": False,
    }


def tolerance(form: str, precision: str) -> float:
    """The relative L2 from the eager network that a stage in this format and precision may have."""
    return (TOLERANCE if form == "onnx" else TORCHSCRIPT_TOLERANCE)[precision]


def eager_tensors(network: InfDetNet, frames: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Every stage's inputs and outputs as the network itself computes them.

    frames: uint8 [T, S, S]. Returns for each stage a mapping of tensor name to array.
    """
    with torch.inference_mode():
        out = network(to_grey(torch.from_numpy(frames))[None])
        scores = torch.sigmoid(out.logits[0]).numpy()
    flow, infrared, flow_features = (t[0].numpy() for t in (out.flow, out.infrared_features, out.flow_features))
    length = np.array([valid_length(len(frames))], np.int64)
    return {
        "fen": {"frames": frames, "flow": flow[:-1]},
        "infrared_tower": {"frames": frames, "features": infrared},
        "flow_tower": {"flow": flow, "features": flow_features},
        "head": {
            "infrared_features": infrared,
            "flow_features": flow_features,
            "length": length,
            "scores": scores,
        },
    }


def relative_l2(ours: np.ndarray, reference: np.ndarray) -> float:
    """‖ours − reference‖ / ‖reference‖ in float64."""
    reference = reference.astype(np.float64)
    return float(np.linalg.norm(ours - reference)) / max(float(np.linalg.norm(reference)), 1e-30)


def export_bundle(
    network: InfDetNet,
    out: Path,
    rule: dict[str, Any] | None = None,
    precisions: tuple[str, ...] = ("float32", "float16"),
    formats: tuple[str, ...] = ("onnx", "torchscript"),
    frame_mode: str = "resize",
    source: str = "",
    include_weights: bool = True,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Export `network` as the folder `out`.

    rule: thresholds, mean_duration_s and split_long; default_rule() where None. Raises ParityError when a stage is
    not within TOLERANCE of the network or does not compute in its precision; then nothing is written.
    """
    specs = stage_specs(network)
    size = network.config.size
    example = _feeds(specs, eager_tensors(network, sample_frames(EXAMPLE_FRAMES, size)))
    checks = [eager_tensors(network, sample_frames(t, size, seed=t)) for t in CHECK_FRAMES]
    steps, done = len(STAGES) * len(precisions) * len(formats), 0
    stages: dict[str, dict[str, Any]] = {n: {**dataclasses.asdict(specs[n]), "files": {}} for n in STAGES}
    parity: dict[str, dict[str, Any]] = {}
    with whole_folder(out) as folder:
        for precision in precisions:
            modules = build_stages(network, getattr(torch, precision))
            for name in STAGES:
                for form in formats:
                    if on_progress:
                        on_progress(done, steps, f"{name} {precision} {form}")
                    file = folder / f"{name}.{precision}.{'onnx' if form == 'onnx' else 'pt'}"
                    if form == "onnx":
                        export_onnx(name, modules[name], specs[name], example[name], file)
                        parity.setdefault(precision, {}).setdefault(name, {})["operators"] = check_precision(
                            name, file, precision
                        )
                    else:
                        export_torchscript(modules[name], example[name], file)
                    error = _check_stage(name, file, form, precision, specs[name], checks)
                    parity.setdefault(precision, {}).setdefault(name, {})[form] = error
                    stages[name]["files"].setdefault(form, {})[precision] = file.name
                    done += 1
        if include_weights:
            save_network(folder / WEIGHTS, network, network.config)
        if on_progress:
            on_progress(done, steps, "hashing")
        write_json(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "name": out.name.removesuffix(".infdet"),
                "source": source,
                "made_by": {p: _version(p) for p in ("infdet-deploy", "torch", "onnx", "onnxscript", "numpy")},
                "model": network.config.to_json(),
                "preprocessing": {"size": size, "mode": frame_mode, "dtype": "uint8", "channels": 1},
                "classes": list(network.config.classes),
                "rule": rule or default_rule(network.config.classes),
                "frames_per_snippet": FRAMES_PER_SNIPPET,
                "receptive_field_frames": 108,
                "stages": stages,
                "parity": parity,
                "files": {
                    file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
                    for file in sorted(folder.iterdir())
                },
            },
        )
    return out


def _version(package: str) -> str:
    return __version__ if package == "infdet-deploy" else importlib.metadata.version(package)


def _feeds(specs: dict[str, StageSpec], tensors: dict) -> dict[str, tuple[torch.Tensor, ...]]:
    return {n: tuple(torch.from_numpy(tensors[n][i.name]) for i in specs[n].inputs) for n in STAGES}


def _check_stage(name: str, file: Path, form: str, precision: str, spec: StageSpec, checks: list) -> float:
    """The largest relative L2 over the check clips; raises ParityError when it is out of tolerance."""
    (output,) = (o.name for o in spec.outputs)
    backend = "openvino" if form == "onnx" else "torchscript"
    stage = open_stage(backend, file, precision, tuple(i.name for i in spec.inputs), (output,))
    error = max(relative_l2(stage.run(t[name])[output], t[name][output]) for t in checks)
    stage.close()
    allowed = tolerance(form, precision)
    if not error <= allowed:
        raise ParityError(
            f"{name} {precision} {form}: relative L2 {error:.2e} from the network, allowed {allowed:.0e}; "
            "nothing was written"
        )
    return error

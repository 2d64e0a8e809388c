"""Write a bundle: every stage compared with the network before it is kept; the folder whole or not at all."""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infdet_deploy import __version__
from infdet_deploy.agreement import CHECK_FRAMES, compare, tolerance
from infdet_deploy.config import to_dict
from infdet_deploy.errors import ParityError
from infdet_deploy.export.onnx import check_precision, export_onnx
from infdet_deploy.export.stages import StageSpec, build_stages, stage_specs
from infdet_deploy.export.torchscript import export_torchscript
from infdet_deploy.files import sha256, whole_folder, write_json
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.model.weights import save_network
from infdet_deploy.runtime.backends.base import BACKENDS, available, open_stage, stage_format
from infdet_deploy.runtime.bundle import FORMAT, MANIFEST, STAGES, WEIGHTS
from infdet_deploy.runtime.detections import DetectionRule, default_rule
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length
from infdet_deploy.video.sample import sample_frames

EXAMPLE_FRAMES = 32


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


def export_bundle(
    network: InfDetNet,
    out: Path,
    rule: DetectionRule | None = None,
    precisions: tuple[str, ...] = ("float32", "float16"),
    formats: tuple[str, ...] = ("onnx", "torchscript"),
    frame_mode: str = "resize",
    source: str = "",
    include_weights: bool = True,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Export `network` as the folder `out`.

    rule: how scores become detections; default_rule() where None. Raises ParityError when a stage, on any backend that
    this machine has, is not within its tolerance of the network, or does not compute in its precision; then nothing is
    written.
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
                "rule": to_dict(rule or default_rule(network.config.classes)),
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
    """The largest relative L2 over the check clips and the backends that read the file here.

    Raises ParityError when it is out of tolerance.
    """
    (output,) = (o.name for o in spec.outputs)
    allowed, worst = tolerance(form, precision), 0.0
    backends = [b for b in BACKENDS if stage_format(b) == form and available(b)]
    if not backends:
        raise ParityError(f"no backend here can run {form}, so nothing says that {name} is right; nothing was written")
    for backend in backends:
        stage = open_stage(backend, file, precision, tuple(i.name for i in spec.inputs), (output,))
        errors = [compare(stage.run(tensors[name])[output], tensors[name][output]).relative_l2 for tensors in checks]
        stage.close()
        for error in errors:
            if not error <= allowed:  # a NaN is not
                instead = "; export without --fp16" if precision == "float16" else ""
                raise ParityError(
                    f"{name} {precision} {form}: relative L2 {error:.2e} from the network on {backend}, "
                    f"allowed {allowed:.0e}; nothing was written{instead}"
                )
        worst = max(worst, *errors)
    return worst

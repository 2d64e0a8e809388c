"""The towers of a bundle as steps: written in each precision, stepped through the check clips, kept when they agree."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infdet_deploy.bundle.loading import TOWERS, stream_stage
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.exporting.checking import worst_error
from infdet_deploy.exporting.incremental import TowerStream, build_tower_stream, example, stream_spec
from infdet_deploy.exporting.onnx import check_2d, check_precision, export_onnx
from infdet_deploy.exporting.stages import StageSpec, float32_operators
from infdet_deploy.model.i3d import ENDPOINTS
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.incremental import TowerSteps
from infdet_deploy.snippets import FRAMES_PER_SNIPPET

EXAMPLE_FRAMES = 32

Tensors = Mapping[str, np.ndarray]


def add_stream(
    folder: Path,
    manifest: dict[str, Any],
    network: InfDetNet,
    begins: Mapping[str, Mapping[str, str]],
    checks: Sequence[Mapping[str, Tensors]],
    report: Callable[[str], None],
) -> None:
    """Write TOWER_stream.PRECISION.onnx for every tower and precision, and complete the manifest.

    begins: precision → tower → its first endpoint in it, as for `build_stage`. checks: for each clip of
    `eager_tensors` its stages' inputs and outputs. Raises ParityError when a tower does not give the network's
    features step by step, does not compute in its precision, or has 3D operators.
    """
    stream: dict[str, Any] = {"stages": {}, "state_bytes": {}}
    for tower in (stage for stage in manifest["stages"] if stage in TOWERS):
        name, first = stream_stage(tower), build_tower_stream(tower, network, torch.float32)
        clips = [check[tower] for check in checks]
        spec = stream_spec(first, network)  # states are float32 in every precision
        stream |= numbers(first)
        stream["state_bytes"][name] = sum(4 * prod(map(int, state.shape)) for state in spec.inputs[2:])
        entry = stream["stages"][name] = {**dataclasses.asdict(spec), "files": {"onnx": {}}}
        for precision in begins:
            report(f"{name} {precision} onnx")
            stage = build_tower_stream(tower, network, getattr(torch, precision), begins[precision])
            file = folder / f"{name}.{precision}.onnx"
            write_steps(name, stage, spec, file)
            check_2d(name, file)
            kept = float32_operators(tower, network, begins[precision])
            operators = check_precision(name, file, precision, kept)
            errors = partial(stepped_errors, file, precision, entry, stream, clips)
            error = worst_error(name, precision, "onnx", errors)
            begin = begins[precision].get(tower, ENDPOINTS[0])
            before = {} if begin == ENDPOINTS[0] else {"float32_before": begin}
            manifest["parity"][precision][name] = {"operators": operators, "onnx": error} | before
            entry["files"]["onnx"][precision] = file.name
    manifest["stream"] = stream


def write_steps(name: str, stage: TowerStream, spec: StageSpec, file: Path) -> None:
    """A tower as steps as ONNX, for steps of any length."""
    x, inside, *states = spec.inputs
    tensors = (example(x, EXAMPLE_FRAMES), example(inside, EXAMPLE_FRAMES + stage.plan.history))
    export_onnx(name, stage, spec, (*tensors, tuple(torch.zeros(*map(int, s.shape)) for s in states)), file)


def numbers(stage: TowerStream) -> dict[str, int]:
    """What the manifest says of all towers' steps."""
    lag = stage.plan.features_lag
    return {
        "step_frames": FRAMES_PER_SNIPPET,
        # Row j, of frames 8j … 8j+15, comes when frame 8·(j+1+lag) − 1 has.
        "delay_frames": FRAMES_PER_SNIPPET * (lag - 1),
        "features_lag": lag,
        "history_frames": stage.plan.history,
    }


def stepped_errors(
    file: Path, precision: str, entry: dict[str, Any], stream: dict[str, Any], clips: Sequence[Tensors], backend: str
) -> Iterator[float]:
    """The relative L2 of each clip's features, stepped on a backend.

    entry, stream: what the manifest says of the tower's steps, and of all of them. clips: for each the input of the
    stage that takes the clip whole, and its `features`.
    """
    inputs, outputs = (tuple(tensor["name"] for tensor in entry[end]) for end in ("inputs", "outputs"))
    runner = open_stage(backend, file, precision, inputs, outputs)
    for tensors in clips:
        ours = TowerSteps(runner, entry, stream).whole(tensors[inputs[0]])
        yield compare(ours, tensors["features"]).relative_l2
    runner.close()

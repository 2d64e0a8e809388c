"""The towers of a bundle as steps: written in each precision, stepped through the check clips, kept when they agree."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infdet_deploy.agreement import compare
from infdet_deploy.export.checking import worst_error
from infdet_deploy.export.onnx import check_2d, check_precision, export_onnx
from infdet_deploy.export.stages import StageSpec, float32_operators
from infdet_deploy.export.stream import TowerStream, build_tower_stream, stream_spec
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.backends.base import Backend, open_stage
from infdet_deploy.runtime.bundle import stream_stage
from infdet_deploy.runtime.stream import TowerSteps
from infdet_deploy.snippets import FRAMES_PER_SNIPPET

EXAMPLE_FRAMES = 32
CHECK_STEPS = (8, 24)  # frames of a check clip's steps, in turn

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
    for tower in (stage for stage in manifest["stages"] if stage.endswith("_tower")):
        name, first = stream_stage(tower), build_tower_stream(tower, network, torch.float32)
        clips = [_shifted(check[tower], first.lag) for check in checks]
        x = torch.from_numpy(clips[-1][0][:EXAMPLE_FRAMES])
        states = first.first_states(x[:FRAMES_PER_SNIPPET])  # float32 in every precision
        spec = stream_spec(first, network, states)
        stream |= numbers(first)
        stream["state_bytes"][name] = sum(4 * prod(state.shape) for state in states)
        entry = stream["stages"][name] = {**dataclasses.asdict(spec), "files": {"onnx": {}}}
        for precision in begins:
            report(f"{name} {precision} onnx")
            stage = build_tower_stream(tower, network, getattr(torch, precision), begins[precision])
            file = folder / f"{name}.{precision}.onnx"
            export_onnx(name, stage, spec, (x, torch.ones(first.plan.history + len(x)), states), file)
            check_2d(name, file)
            kept = float32_operators(tower, network, begins[precision])
            operators = check_precision(name, file, precision, kept)
            errors = partial(_errors, file, precision, spec, entry, stream, clips)
            manifest["parity"][precision][name] = {
                "operators": operators,
                "onnx": worst_error(name, precision, "onnx", errors),
            }
            entry["files"]["onnx"][precision] = file.name
    manifest["stream"] = stream


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


def open_step(backend: str, file: Path, precision: str, spec: StageSpec) -> Backend:
    """Compile a tower's steps."""
    inputs, outputs = (tuple(tensor.name for tensor in end) for end in (spec.inputs, spec.outputs))
    return open_stage(backend, file, precision, inputs, outputs)


def _errors(
    file: Path,
    precision: str,
    spec: StageSpec,
    entry: dict[str, Any],
    stream: dict[str, Any],
    clips: Sequence[tuple[np.ndarray, np.ndarray]],
    backend: str,
) -> Iterator[float]:
    """The relative L2 of each clip's features, stepped on a backend; clips: as `_shifted` gives them."""
    runner = open_step(backend, file, precision, spec)
    for x, features in clips:
        yield compare(stepped(TowerSteps(runner, entry, stream), x, len(x)), features).relative_l2
    runner.close()


def _shifted(tensors: Tensors, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """A tower's input as it is fed in steps, `lag` frames behind, and its features. What lies outside the clip, the
    flow of its last frame as well, is anything but zero."""
    features = tensors["features"]
    (x,) = (value for name, value in tensors.items() if name != "features")
    return np.concatenate((np.ones_like(x[:lag]), x[: len(x) - lag])), features


def stepped(tower: TowerSteps, x: np.ndarray, length: int, steps: Sequence[int] = CHECK_STEPS) -> np.ndarray:
    """The features of a clip of `length` frames whose input x is fed in steps of these frames, in turn."""
    rows: list[np.ndarray] = []
    at = 0
    for frames in cycle(steps):
        if tower.rest(length) <= 0:
            return np.concatenate(rows)
        part = x[at : at + frames]
        filler = np.ones((frames - len(part), *x.shape[1:]), x.dtype)
        at += frames
        rows.append(tower.step(np.concatenate((part, filler)), length if at >= length else None))
    raise AssertionError

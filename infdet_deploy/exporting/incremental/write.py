"""Write the incremental towers; each must reproduce the features of the check clips."""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from infdet_deploy.bundle.schema import FIXED_SHAPES, Incremental, StageEntry, StageSpec, stream_stage
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.checks import check_2d, check_precision, worst_error
from infdet_deploy.exporting.float16_ranges import first_within_tolerance, starts_from
from infdet_deploy.exporting.incremental.tower import IncrementalTower, build_incremental_tower, incremental_spec, zeros
from infdet_deploy.exporting.onnx import EXAMPLE_FRAMES, export_onnx
from infdet_deploy.exporting.stages.build import float32_operators
from infdet_deploy.exporting.winograd import rewrite, winograd_name
from infdet_deploy.model.i3d import ENDPOINTS
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.incremental import TowerSteps
from infdet_deploy.snippets import FRAMES_PER_SNIPPET


def write_incremental(draft: Draft) -> None:
    """Write TOWER_stream.PRECISION.onnx for every tower and float precision, and their manifest entries.

    Raises ParityError when an incremental tower is out of tolerance, does not compute in its precision, or has 3D
    operators.
    """
    stream: dict[str, Any] = {"stages": {}, "state_bytes": {}}
    for tower in draft.towers:
        name, first = stream_stage(tower), build_incremental_tower(tower, draft.network, torch.float32)
        spec = incremental_spec(first, draft.network)  # states are float32 in every precision
        stream |= _timing(first)
        stream["state_bytes"][name] = sum(4 * prod(map(int, state.shape)) for state in spec.inputs[2:])
        entry = stream["stages"][name] = {**dataclasses.asdict(spec), "files": {"onnx": {}}}
        for precision in draft.starts:
            parity = _write_tower(draft, tower, precision, spec, stream)
            draft.manifest["parity"][precision][name] = parity
            entry["files"]["onnx"][precision] = f"{name}.{precision}.onnx"
        if draft.options.winograd and FIXED_SHAPES in draft.manifest["stages"][tower]["files"]:
            draft.manifest["parity"]["float32"][name]["winograd"] = _write_winograd(draft, tower, spec, stream)
    draft.manifest["stream"] = stream


def _write_tower(
    draft: Draft, tower: str, precision: str, spec: StageSpec, stream: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one incremental tower; return its entry in the manifest's parity.

    It starts where the whole tower does. If a float16 tower is out of tolerance there, more of its first layers compute
    in float32.
    """
    name = stream_stage(tower)
    path = draft.folder / f"{name}.{precision}.onnx"
    clips = [check[tower] for check in draft.checks]
    errors = partial(incremental_errors, path, precision, stream["stages"][name], stream, clips)

    def write(start: str) -> dict[str, Any]:
        draft.report(f"{name} {precision} onnx")
        starts = {tower: start}
        stage = build_incremental_tower(tower, draft.network, getattr(torch, precision), starts)
        export_incremental(name, stage, spec, path)
        check_2d(name, path)
        return {"operators": check_precision(name, path, precision, float32_operators(tower, draft.network, starts))}

    def compared(_: str) -> dict[str, Any]:
        return {"onnx": worst_error(name, precision, "onnx", errors)}

    first = draft.starts[precision].get(tower, ENDPOINTS[0])
    return first_within_tolerance(starts_from(first) if precision == "float16" else [first], compared, write)


def _write_winograd(draft: Draft, tower: str, spec: StageSpec, stream: Mapping[str, Any]) -> float:
    """Write an incremental tower with Winograd convolutions, which read several frames at once and thus need the 3D
    operators; return its error."""
    name = stream_stage(tower)
    rewritten = rewrite(incremental_3d_graph(draft.folder, tower, draft.network))
    assert rewritten is not None  # the whole tower has the same layers
    path, entry = draft.folder / winograd_name(name), stream["stages"][name]
    onnx.save(rewritten, str(path))
    check_precision(name, path, "float32")
    clips = [check[tower] for check in draft.checks]
    entry["files"][FIXED_SHAPES] = {"float32": path.name}
    return worst_error(name, "float32", "onnx", partial(incremental_errors, path, "float32", entry, stream, clips))


def incremental_3d_graph(folder: Path, tower: str, network: InfDetNet) -> onnx.ModelProto:
    """An incremental float32 tower with 3D operators, through a temporary file in `folder`."""
    stage = build_incremental_tower(tower, network, torch.float32, in_3d=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "steps.onnx"
        export_incremental(stream_stage(tower), stage, incremental_spec(stage, network), path)
        return onnx.load(str(path))


def export_incremental(name: str, stage: IncrementalTower, spec: StageSpec, path: Path) -> None:
    """Write an incremental tower as ONNX, for steps of any length."""
    x, inside, *states = spec.inputs
    window = zeros(inside, EXAMPLE_FRAMES + stage.schedule.history)
    export_onnx(name, stage, spec, (zeros(x, EXAMPLE_FRAMES), window, tuple(zeros(s, 0) for s in states)), path)


def _timing(stage: IncrementalTower) -> dict[str, int]:
    """The manifest's numbers for all incremental towers."""
    lag = stage.schedule.features_lag
    return {
        "step_frames": FRAMES_PER_SNIPPET,
        # Feature j, of frames 8j … 8j+15, is computed when frame 8·(j+1+lag) − 1 has arrived.
        "delay_frames": FRAMES_PER_SNIPPET * (lag - 1),
        "features_lag": lag,
        "history_frames": stage.schedule.history,
    }


def incremental_errors(
    path: Path,
    precision: str,
    entry: Mapping[str, Any],
    stream: Mapping[str, Any],
    clips: Sequence[Mapping[str, np.ndarray]],
    backend: str,
) -> Iterator[float]:
    """The relative L2 of each clip's features, computed step by step on a backend.

    entry, stream: the manifest's entries for this incremental tower and for all. clips: the tower's input and
    `features` of each whole clip.
    """
    spec, steps = StageEntry.from_json(entry), Incremental.from_json(stream)
    runner = open_stage(backend, path, precision, spec.input_names, spec.output_names)
    for tensors in clips:
        ours = TowerSteps(runner, spec, steps).whole(tensors[spec.input_names[0]])
        yield compare(ours, tensors["features"]).relative_l2
    runner.close()

"""Write every stage in each float precision and format, and compare each file with the network."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch

from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.schema import FIXED_SHAPES, TOWERS
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.checks import check_2d, check_precision, stage_errors, worst_error
from infdet_deploy.exporting.float16_ranges import first_within_tolerance, float16_starts, measure
from infdet_deploy.exporting.onnx import EXAMPLE_FRAMES, export_onnx
from infdet_deploy.exporting.stages.build import build_stage, float32_operators
from infdet_deploy.exporting.tensors import eager_tensors
from infdet_deploy.exporting.torchscript import export_torchscript
from infdet_deploy.exporting.whole_network import join_stages
from infdet_deploy.exporting.winograd import rewrite, winograd_name
from infdet_deploy.model.i3d import ENDPOINTS
from infdet_deploy.video.sample import sample_frames

SUFFIX = {"onnx": "onnx", "torchscript": "pt"}


def write_stages(draft: Draft, clips: Iterable[np.ndarray] = ()) -> None:
    """Write STAGE.PRECISION.onnx and .pt, and their manifest entries.

    clips: more clips, uint8 [T, S, S], on which float16's value ranges are measured. Raises ParityError when a file is
    out of tolerance on any installed backend, does not compute in its precision, or has 3D operators despite `conv2d`.
    """
    network, manifest = draft.network, draft.manifest
    ranges: dict[str, dict[str, float]] = {}
    if "float16" in draft.options.precisions:
        tensors = [*draft.checks, *(eager_tensors(network, clip) for clip in clips)]
        for name in (name for name in draft.specs if name != NETWORK):
            feeds = (draft.inputs(name, each) for each in tensors)
            ranges[name] = measure(build_stage(name, network, torch.float32), feeds)
            manifest["ranges"][name] = {module: float(f"{value:.3g}") for module, value in ranges[name].items()}
    example = eager_tensors(network, sample_frames(EXAMPLE_FRAMES, network.config.size))
    for precision in draft.options.float_precisions:
        draft.starts[precision] = {}
        for name in draft.specs:
            manifest["parity"][precision][name] = _write_stage(draft, name, precision, example, ranges.get(name, {}))


def _write_stage(
    draft: Draft, name: str, precision: str, example: Tensors, ranges: Mapping[str, float]
) -> dict[str, Any]:
    """Write one stage in every format; return its entry in the manifest's parity. ranges: for float16, by module.

    A float16 tower that is out of tolerance is written again with more of its first layers in float32.
    """
    candidates: Sequence[str] = (ENDPOINTS[0],)
    if precision == "float16" and name != NETWORK:
        candidates = float16_starts(name, ranges, tower=name in TOWERS)

    def attempt(start: str) -> dict[str, Any]:
        if name in TOWERS:
            draft.starts[precision][name] = start
        starts = draft.starts[precision]
        stage = build_stage(name, draft.network, getattr(torch, precision), starts, draft.options.conv2d)
        entry: dict[str, Any] = {}
        for format in draft.options.formats:
            draft.report(f"{name} {precision} {format}")
            entry |= _write_file(draft, name, stage, precision, format, example)
        if name in TOWERS and precision == "float32" and draft.options.winograd:
            entry |= _write_winograd(draft, name)
        return entry

    return first_within_tolerance(candidates, attempt)


def _write_file(
    draft: Draft, name: str, stage: torch.nn.Module, precision: str, format: str, example: Tensors
) -> dict[str, Any]:
    path = draft.folder / f"{name}.{precision}.{SUFFIX[format]}"
    entry: dict[str, Any] = {}
    if format == "torchscript":
        export_torchscript(stage, draft.inputs(name, example), path)
    else:
        if name == NETWORK:
            parts = {part: draft.folder / f"{part}.{precision}.onnx" for part in draft.specs if part != NETWORK}
            join_stages(parts, draft.specs, path)
        else:
            export_onnx(name, stage, draft.specs[name], draft.inputs(name, example), path)
        kept = float32_operators(name, draft.network, draft.starts[precision])
        entry["operators"] = check_precision(name, path, precision, kept)
        if draft.options.conv2d:
            check_2d(name, path)
    spec, clips = draft.specs[name], [check[name] for check in draft.checks]
    errors = partial(stage_errors, path, precision, spec.input_names, spec.output_names[0], clips)
    entry[format] = worst_error(name, precision, format, errors)
    draft.manifest["stages"][name]["files"].setdefault(format, {})[precision] = path.name
    return entry


def _write_winograd(draft: Draft, name: str) -> dict[str, Any]:
    """Write a tower's float32 graph with Winograd convolutions, if it has any, for clips of fixed shapes."""
    rewritten = rewrite(onnx.load(str(draft.folder / f"{name}.float32.onnx")))
    if rewritten is None:
        return {}
    path = draft.folder / winograd_name(name)
    onnx.save(rewritten, str(path))
    check_precision(name, path, "float32")
    spec, clips = draft.specs[name], [check[name] for check in draft.checks]
    errors = partial(stage_errors, path, "float32", spec.input_names, spec.output_names[0], clips)
    draft.manifest["stages"][name]["files"][FIXED_SHAPES] = {"float32": path.name}
    return {"winograd": worst_error(name, "float32", "onnx", errors)}

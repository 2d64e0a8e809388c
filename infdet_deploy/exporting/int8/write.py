"""Write the int8 stages: calibrate, measure layer by layer, and compare the whole network's detections."""

from typing import Any

import onnx

from infdet_deploy.bundle.loading import NETWORK, Bundle
from infdet_deploy.bundle.schema import Manifest
from infdet_deploy.bundle.tolerances import tolerance
from infdet_deploy.errors import ParityError, UsageError
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.checks import check_precision
from infdet_deploy.exporting.int8.accuracy import (
    MAX_SCORE_SHIFT,
    AccuracyCheck,
    Results,
    check_accuracy,
    run_recordings,
)
from infdet_deploy.exporting.int8.calibration import Calibration, stage_tensors
from infdet_deploy.exporting.int8.quantization import INT8_FILES, Int8File, calibrate
from infdet_deploy.exporting.int8.stage import Int8Stage, error_on, layer_errors
from infdet_deploy.exporting.whole_network import join_stages
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.detector import Detector

PROBES, PROBE_FRAMES = 2, 32  # clips, and frames per clip, for the error of each layer
# Where detections differ too much, the stages' allowed error is lowered by this factor, down to the strictest bound.
LOWERED, STRICTEST = 0.7, 5e-3
MAX_MAP_DROP = 1.0  # points of mAP@0.5


def write_int8(draft: Draft, calibration: Calibration) -> dict[str, Int8Stage]:
    """Write STAGE.int8.onnx and STAGE.int8.openvino.onnx from the float32 files, and their manifest entries.

    Errors are measured on the held-out clips and on the draft's check clips. Returns the stages as written, without
    `network`. Raises ParityError if a stage's error or the change of the detections is too large.
    """
    draft.report("calibrating")
    manifest = draft.manifest
    manifest["parity"]["int8"] = {}
    stages = _calibrate(draft, calibration)
    manifest["int8"] = {
        "calibration": calibration.source,
        "calibration_frames": sum(map(len, calibration.windows)),
    }
    if not calibration.checked:
        for file in INT8_FILES:
            for name, stage in stages.items():
                stage.save(file, draft.folder)
                _enter(draft, name, file, len(stage.graph.layers), [])
        return stages
    if NETWORK in draft.specs:
        manifest["parity"]["int8"][NETWORK] = {"float32_layers": {}}
    max_drop = MAX_MAP_DROP if draft.options.max_map_drop is None else draft.options.max_map_drop
    manifest["int8"] |= {
        "measured_frames": sum(map(len, calibration.held_out)),
        "max_map_drop": max_drop,
        "detections": {},
    }
    float32 = _detect(draft, calibration, "openvino", "float32")
    for file in INT8_FILES:
        allowed = tolerance("onnx", "int8")
        while True:
            _write_all(draft, stages, file, allowed)
            int8 = _detect(draft, calibration, file.backend, "int8")
            check = check_accuracy(float32, int8, calibration.recordings, draft.network.config.classes, max_drop)
            manifest["int8"]["detections"][file.backend] = check.to_dict() | {"stage_error_allowed": allowed}
            if check.passed:
                break
            allowed *= LOWERED
            if allowed < STRICTEST:
                raise ParityError(_failure(check, file.backend, max_drop))
        if NETWORK in draft.specs:
            _join(draft, stages, file)
    return stages


def _calibrate(draft: Draft, calibration: Calibration) -> dict[str, Int8Stage]:
    """The calibrated stages; if the calibration is checked, the error of each layer alone is in the manifest."""
    specs = {name: spec for name, spec in draft.specs.items() if name != NETWORK}
    runners = {
        name: open_stage(
            "openvino", draft.folder / f"{name}.float32.onnx", "float32", spec.input_names, spec.output_names
        )
        for name, spec in specs.items()
    }
    feeds = stage_tensors(runners, calibration.windows)
    measured = stage_tensors(runners, calibration.held_out)
    probes = stage_tensors(runners, [window[:PROBE_FRAMES] for window in calibration.held_out[:PROBES]])
    for runner in runners.values():
        runner.close()
    stages = {}
    for name, spec in specs.items():
        draft.report(f"{name} int8" + (", layer by layer" if calibration.checked else ""))
        graph = calibrate(onnx.load(str(draft.folder / f"{name}.float32.onnx")), feeds[name])
        if not graph.layers:
            raise UsageError(f"int8: {name} has no convolution to quantize (its fusion has none); export without int8")
        errors: dict[str, float] = {}
        if calibration.checked:
            # The shortest check clip too: its single feature often has the largest error.
            errors = layer_errors(graph, [*probes[name], draft.checks[0][name]], spec.output_names[0])
        draft.manifest["parity"]["int8"][name] = {"sensitivity": errors, "float32_layers": {}}
        stages[name] = Int8Stage(graph, tuple(errors), [*measured[name], *(check[name] for check in draft.checks)])
    return stages


def _write_all(draft: Draft, stages: dict[str, Int8Stage], file: Int8File, allowed: float) -> None:
    for name, stage in stages.items():
        draft.report(f"{name} int8 {file.backend}")
        error = stage.write(file, draft.folder, allowed)
        _enter(draft, name, file, len(stage.graph.layers), stage.kept[file.format], error)


def _enter(draft: Draft, name: str, file: Int8File, layers: int, kept: list[str], error: float | None = None) -> None:
    """Enter a file into the manifest. Raises ParityError if too few of its layers are int8."""
    heavy = sum(draft.manifest["parity"]["float32"][name]["operators"].values())
    path = draft.folder / file.name(name)
    entry: dict[str, Any] = draft.manifest["parity"]["int8"][name]
    if error is not None:
        entry[file.format] = error
    entry[file.operators] = check_precision(name, path, "int8", heavy - layers + len(kept))
    entry["float32_layers"][file.format] = kept
    draft.manifest["stages"][name]["files"].setdefault(file.format, {})["int8"] = path.name


def _join(draft: Draft, stages: dict[str, Int8Stage], file: Int8File) -> None:
    """Write `network` from the stages' files."""
    draft.report(f"{NETWORK} int8 {file.backend}")
    path, allowed = draft.folder / file.name(NETWORK), tolerance("onnx", "int8")
    join_stages({name: draft.folder / file.name(name) for name in stages}, draft.specs, path)
    error = error_on(file.backend, path, ("frames",), "scores", [check[NETWORK] for check in draft.checks])
    if not error <= allowed:  # so that NaN fails
        raise ParityError(
            f"{NETWORK} int8 on {file.backend} has an error of {error:.1e}, allowed {allowed:.0e}; nothing was "
            "written: calibrate on more clips, or export without --network"
        )
    kept = [f"{NETWORK}/{layer}" for stage in stages.values() for layer in stage.kept[file.format]]
    _enter(draft, NETWORK, file, sum(len(stage.graph.layers) for stage in stages.values()), kept, error)


def _detect(draft: Draft, calibration: Calibration, backend: str, precision: str) -> Results:
    with Detector(
        Bundle(draft.folder, Manifest.from_json(draft.folder, draft.manifest)), backend, precision
    ) as detector:
        return run_recordings(detector, calibration.recordings)


def _failure(check: AccuracyCheck, backend: str, max_drop: float) -> str:
    if check.score_shift > MAX_SCORE_SHIFT:
        return (
            f"int8 on {backend} moves a score by {check.score_shift:.3f} on {check.clips} clips, allowed "
            f"{MAX_SCORE_SHIFT:g}; nothing was written: calibrate on more clips, or export without int8"
        )
    unit = "% of the detections" if check.map_int8 is None else "points"
    return (
        f"int8 on {backend}: {check.summary()}, allowed {max_drop:g} {unit}; nothing was written: "
        "export without int8, or allow more with --max-map-drop"
    )

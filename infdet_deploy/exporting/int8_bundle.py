"""The int8 stages of a bundle: calibrated, measured layer by layer, judged by what the whole network then finds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from infdet_deploy.bundle.loading import NETWORK, Bundle
from infdet_deploy.bundle.tolerances import tolerance
from infdet_deploy.errors import ParityError, UsageError
from infdet_deploy.exporting.calibration import Calibration, stage_tensors
from infdet_deploy.exporting.gate import SCORES_WITHIN, judge, run_clips
from infdet_deploy.exporting.int8 import plan
from infdet_deploy.exporting.onnx import check_precision
from infdet_deploy.exporting.sensitivity import Int8Stage, error_of, sensitivity
from infdet_deploy.exporting.stages import StageSpec
from infdet_deploy.exporting.whole_network import join
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.detector import Detector

PROBES, PROBE_FRAMES = 2, 32  # clips, and frames of each, that a layer's sensitivity is measured on
# Where the detections are not held, the stages' error is lowered by this factor, down to the least that is tried.
LOWERED, STRICTEST = 0.7, 5e-3
# format → the backend that it is written for and measured on
WRITTEN_FOR = {"onnx": "onnxruntime", "openvino": "openvino"}

Checks = Sequence[Mapping[str, Mapping[str, np.ndarray]]]


def int8_file(stage: str, form: str) -> str:
    """What an int8 stage's file of a format in `WRITTEN_FOR` is called."""
    return f"{stage}.int8.onnx" if form == "onnx" else f"{stage}.int8.{form}.onnx"


def add_int8(
    folder: Path,
    manifest: dict[str, Any],
    specs: Mapping[str, StageSpec],
    calibration: Calibration,
    checks: Checks,
    max_map_drop: float,
    report: Callable[[str], None],
) -> dict[str, Int8Stage]:
    """Write STAGE.int8.onnx and STAGE.int8.openvino.onnx from the float32 files in `folder`; complete the manifest.

    specs: of the stages, with `network` among them where it is wanted. checks: for each clip of `eager_tensors` its
    stages' inputs and outputs, on which the error is measured too, beside the clips held out. Gives the stages as they
    were written, without `network`. Raises ParityError where a stage's error or the loss of detections cannot be held.
    """
    report("calibrating")
    stages = _calibrate(folder, {n: spec for n, spec in specs.items() if n != NETWORK}, calibration, checks, report)
    details: dict[str, Any] = {
        name: {"sensitivity": errors, "float32_layers": {}} for name, (_, errors) in stages.items()
    }
    if NETWORK in specs:
        details[NETWORK] = {"float32_layers": {}}
    manifest["parity"]["int8"] = details

    def enter(name: str, form: str, error: float, layers: int, kept: list[str]) -> None:
        """Put a file that was written into the manifest; fails when too little of it is int8."""
        heavy = sum(manifest["parity"]["float32"][name]["operators"].values())
        file = folder / int8_file(name, form)
        operators = "operators" if form == "onnx" else f"operators_{form}"
        details[name][form] = error
        details[name][operators] = check_precision(name, file, "int8", heavy - layers + len(kept))
        details[name]["float32_layers"][form] = kept
        manifest["stages"][name]["files"].setdefault(form, {})["int8"] = file.name

    manifest["int8"] = {
        "calibration": calibration.source,
        "calibration_frames": sum(map(len, calibration.windows)),
        "measured_frames": sum(map(len, calibration.held_out)),
        "max_map_drop": max_map_drop,
        "detections": {},
    }
    with Detector(Bundle(folder, manifest), "openvino", "float32") as detector:
        classes = detector.bundle.classes
        reference = run_clips(detector, calibration.judged)
    for form, backend in WRITTEN_FOR.items():
        allowed = tolerance("onnx", "int8")
        while True:
            for name, (stage, _) in stages.items():
                report(f"{name} int8 {backend}")
                error = stage.write(backend, folder / int8_file(name, form), allowed)
                enter(name, form, error, len(stage.plan.layers), stage.kept[backend])
            with Detector(Bundle(folder, manifest), backend, "int8") as detector:
                ours = run_clips(detector, calibration.judged)
            result = judge(reference, ours, calibration.judged, classes, max_map_drop)
            manifest["int8"]["detections"][backend] = result | {"stage_error_allowed": allowed}
            why = "" if result["passed"] else _lost(result, backend, max_map_drop)
            if not why:
                break
            allowed *= LOWERED
            if allowed < STRICTEST:
                raise ParityError(why)
        if NETWORK in specs:
            report(f"{NETWORK} int8 {backend}")
            file = folder / int8_file(NETWORK, form)
            join({name: folder / int8_file(name, form) for name in stages}, specs, file)
            error = error_of(backend, file, ("frames",), "scores", [check[NETWORK] for check in checks])
            if not error <= tolerance("onnx", "int8"):  # so that NaN fails
                raise ParityError(
                    f"{NETWORK} int8 on {backend} has an error of {error:.1e}, allowed "
                    f"{tolerance('onnx', 'int8'):.0e}; nothing was written: calibrate on more clips, or export without "
                    "--network"
                )
            kept = [f"{NETWORK}/{layer}" for stage, _ in stages.values() for layer in stage.kept[backend]]
            enter(NETWORK, form, error, sum(len(stage.plan.layers) for stage, _ in stages.values()), kept)
    return {name: stage for name, (stage, _) in stages.items()}


def _calibrate(
    folder: Path,
    specs: Mapping[str, StageSpec],
    calibration: Calibration,
    checks: Checks,
    report: Callable[[str], None],
) -> dict[str, tuple[Int8Stage, dict[str, float]]]:
    """Each stage ready to be written, with the error of each of its layers alone."""
    runners = {
        name: open_stage(
            "openvino", folder / f"{name}.float32.onnx", "float32",
            tuple(i.name for i in spec.inputs), tuple(o.name for o in spec.outputs),
        )
        for name, spec in specs.items()
    }  # fmt: skip
    feeds = stage_tensors(runners, calibration.windows)
    measured = stage_tensors(runners, calibration.held_out)
    probes = stage_tensors(runners, [window[:PROBE_FRAMES] for window in calibration.held_out[:PROBES]])
    for runner in runners.values():
        runner.close()
    stages = {}
    for name, spec in specs.items():
        report(f"{name} int8, layer by layer")
        calibrated = plan(onnx.load(str(folder / f"{name}.float32.onnx")), feeds[name])
        if not calibrated.layers:
            raise UsageError(
                f"int8: {name} has no convolution that could be int8 (this fusion has none); export without --int8"
            )
        # The shortest check clip too: of a single feature, which no others make up for, it is often the worst.
        errors = sensitivity(calibrated, [*probes[name], checks[0][name]], spec.outputs[0].name)
        tensors = [*measured[name], *(check[name] for check in checks)]
        stages[name] = Int8Stage(calibrated, tuple(errors), tensors), errors
    return stages


def _lost(result: dict[str, Any], backend: str, max_map_drop: float) -> str:
    if result["score_shift"] > SCORES_WITHIN:
        return (
            f"int8 on {backend} moves a score by {result['score_shift']:.3f} on {result['clips']} clips, allowed "
            f"{SCORES_WITHIN:g}; nothing was written: calibrate on more clips, or export without --int8"
        )
    what = f"int8 on {backend} misses {result['missed']} of float32's detections and has {result['extra']} more"
    unit = "% of the detections"
    if "map_int8" in result:
        what += f", mAP@0.5 {100 * result['map_int8']:.2f} instead of {100 * result['map_float32']:.2f}"
        unit = "points"
    return (
        f"{what} on {result['clips']} clips, allowed {max_map_drop:g} {unit}; nothing was written: "
        "export without --int8, or allow more with --max-map-drop"
    )

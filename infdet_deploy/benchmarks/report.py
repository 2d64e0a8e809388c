"""The report of `bench`: what was measured, put into figures. docs/bench.md describes every entry."""

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from infdet_deploy import __version__
from infdet_deploy.benchmarks import roofline
from infdet_deploy.benchmarks.energy import NOT_TOLD
from infdet_deploy.benchmarks.latency import EAGER, PAPER_FRAMES_PER_S, REAL_TIME_FPS, WARM_UP_RUNS, Timed
from infdet_deploy.benchmarks.statistics import summary
from infdet_deploy.benchmarks.workers import Answer, Ready
from infdet_deploy.bundle.loading import TOWERS, Bundle
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.detections import compare_detections
from infdet_deploy.system import cpu_count, processor_name

DEVICE_STEPS = ("upload", "network", "download")  # of a contender on a GPU, timed by its own events
SCHEMA, VERSION = "infdet-deploy bench", 1
_PACKAGES = ("numpy", "openvino", "onnxruntime", "torch", "tensorrt", "av")


def build_report(
    bundle: Bundle,
    found: Sequence[Timed],
    frames: int,
    runs: int,
    preparation: Mapping[str, Any] | None,
    peaks: Mapping[str, Any] | None,
    performance: str = "latency",
) -> dict[str, Any]:
    """Everything that `bench` tells, JSON-ready: docs/bench.md has the schema.

    preparation: of `preparation.measure_preparation`; peaks: of `roofline.measure_peaks`; None where not measured.
    """
    reference = _reference(found)
    eager = next((one for one in found if one.contender.backend == EAGER and not one.error), None)
    rows = [_row(bundle, one, frames, reference, eager, peaks) for one in found]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "bundle": bundle.name,
        "source": bundle.manifest.get("source", ""),
        "network": bundle.manifest["model"],
        "frames": frames,
        "runs": runs,
        "performance": performance,
        "warm_up_runs": WARM_UP_RUNS,
        "device": processor_name(),
        "cores": cpu_count(),
        "versions": _versions(),
        "paper": {"frames_per_s": PAPER_FRAMES_PER_S, "device": "4 x V100, Xeon E5 2.2 GHz"},
        "reference": reference.contender.name if reference else None,
        "preparation": None if preparation is None else dict(preparation),
        "roofline": _roofline(bundle, frames, peaks),
        "energy_note": None if any(one.joules for one in found) else NOT_TOLD,
        "contenders": rows,
    }


def failures(report: Mapping[str, Any]) -> list[str]:
    """Why contenders did not finish, a line each."""
    return [row["error"] for row in report["contenders"] if row["error"]]


def _reference(found: Sequence[Timed]) -> Timed | None:
    """What accuracy is judged by: the original network where it ran, else float32 on OpenVINO, else any float32."""
    for wanted in (EAGER, "openvino", None):
        for one in found:
            if one.ready and one.contender.precision == "float32" and wanted in (None, one.contender.backend):
                return one
    return None


def _row(
    bundle: Bundle,
    one: Timed,
    frames: int,
    reference: Timed | None,
    eager: Timed | None,
    peaks: Mapping[str, Any] | None,
) -> dict[str, Any]:
    entry = one.contender
    row: dict[str, Any] = {
        "contender": entry.name, "backend": entry.backend, "precision": entry.precision, "error": one.error or None,
    }  # fmt: skip
    if one.error or one.ready is None or not one.runs:
        return row
    times = [run.latency_s for run in one.runs]
    ms = summary([1000 * seconds for seconds in times])
    rate = {"median": "median", "low": "high", "high": "low", "min": "max", "max": "min"}
    in_a_run = frames * one.ready.clips
    factor = 1000 * in_a_run / ms["median"] / REAL_TIME_FPS
    joules = sum(one.joules.values()) if one.joules else None
    return row | {
        "latency_ms": ms,
        "runs_ms": [1000 * seconds for seconds in times],
        "frames_per_s": {name: 1000 * in_a_run / ms[of] for name, of in rate.items()},
        "clips_at_once": one.ready.clips,
        "real_time_factor": factor,
        "cameras": int(factor),
        "against_eager": None if eager is None else one.ready.clips * _median_ms(eager) / ms["median"],
        "stages_ms": {
            name: float(np.median([run.stages_s.get(name, nan) for run in one.runs]) * 1000)
            for name in (*bundle.stages, "detections")
        },
        "device": _device(one, frames),
        "start": _start(one.first_start or one.ready),
        "second_start": _start(one.ready) if one.first_start else None,
        "peak_memory_mb": one.peak_memory_bytes / 2**20,
        "accuracy": None if reference is None or not reference.ready else _accuracy(one.ready.answer, reference),
        "roofline": None if peaks is None else _fraction(bundle, one, frames, peaks),
        "joules_per_frame": None if joules is None else joules / (in_a_run * len(times)),
    }


def _device(one: Timed, frames: int) -> dict[str, float] | None:
    """What a GPU did by its own clock, in medians, and what NVML told; None for a contender that is not on it."""
    times = {name: [run.stages_s[name] for run in one.runs if name in run.stages_s] for name in DEVICE_STEPS}
    found = {f"{name}_ms": float(np.median(seconds) * 1000) for name, seconds in times.items() if seconds}
    if one.paper_s:
        found["paper_frames_per_s"] = frames / one.paper_s
    for name in {name for state in one.gpu for name in state}:
        found[name] = float(np.median([state[name] for state in one.gpu if name in state]))
    return found or None


def _start(ready: Ready) -> dict[str, float]:
    return {"load_s": ready.load_s, "first_result_s": ready.load_s + ready.first_s}


def _median_ms(one: Timed) -> float:
    return float(np.median([run.latency_s for run in one.runs]) * 1000)


def _accuracy(ours: Answer, reference: Timed) -> dict[str, Any]:
    assert reference.ready is not None
    theirs = reference.ready.answer
    changes = compare_detections(theirs.detections, ours.detections)
    both = [name for name in theirs.features if name in ours.features]
    features = [compare(ours.features[name], theirs.features[name]).relative_l2 for name in both]
    return {
        "features_relative_l2": max(features) if features else None,
        "score_max_abs": compare(ours.scores, theirs.scores).max_abs,
        "reference_detections": len(theirs.detections),
        "matched": changes.matched,
        "missed": changes.missed,
        "extra": changes.extra,
    }


def _fraction(bundle: Bundle, one: Timed, frames: int, peaks: Mapping[str, Any]) -> dict[str, Any] | None:
    """How near a contender comes to its floor: in all, and in the towers. Clips at once share the machine."""
    found = roofline.floors(bundle, one.contender.backend, one.contender.precision, frames, peaks)
    if found is None:
        return None
    floor_s = sum(row["floor_s"] for row in found["stages"])
    towers_floor_s = sum(row["floor_s"] for row in found["stages"] if row["stage"] in TOWERS)
    towers_s = float(np.median([sum(run.stages_s.get(name, 0.0) for name in TOWERS) for run in one.runs]))
    clips = one.ready.clips if one.ready else 1
    return found | {
        "floor_ms": 1000 * floor_s,
        "fraction": clips * 1000 * floor_s / _median_ms(one),
        "towers_floor_ms": 1000 * towers_floor_s,
        "towers_fraction": clips * towers_floor_s / towers_s,
    }


def _roofline(bundle: Bundle, frames: int, peaks: Mapping[str, Any] | None) -> dict[str, Any]:
    work = roofline.stage_work(bundle, frames)
    report: dict[str, Any] = {"multiply_adds_per_s": None, "bytes_per_s": None, **(peaks or {}), "work": work}
    report["note"] = (
        roofline.NO_COUNT
        if work is None
        else "fractions use the exported graph's own multiply-adds, not the original network's, which are more"
    )
    if work is not None:
        for key in ("multiply_adds", "multiply_adds_original"):
            report[key] = sum(stage[key] for stage in work.values())
    return report


def _versions() -> dict[str, str]:
    found = {"infdet-deploy": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

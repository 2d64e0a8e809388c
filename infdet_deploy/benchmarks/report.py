"""The report of `bench`, built from its measurements. docs/bench.md describes every entry."""

import contextlib
import datetime
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan
from typing import Any

import numpy as np

from infdet_deploy import __version__
from infdet_deploy.benchmarks.comparison import SCHEMA, VERSION, Baseline, Comparison
from infdet_deploy.benchmarks.contenders import EAGER
from infdet_deploy.benchmarks.energy import UNAVAILABLE
from infdet_deploy.benchmarks.measure import WARM_UP_RUNS, Timed
from infdet_deploy.benchmarks.preparation import Preparation
from infdet_deploy.benchmarks.roofline import Peaks, StageFloor, Work, stage_floors, stage_work
from infdet_deploy.benchmarks.statistics import Summary, summary
from infdet_deploy.benchmarks.steps import StepTimes
from infdet_deploy.benchmarks.workers import Answer, Ready, Start
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.schema import TOWERS
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.detections import compare_detections
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.system import cpu_count, processor_name
from infdet_deploy.video.timeline import DEFAULT_FPS

REAL_TIME_FPS = DEFAULT_FPS
# The paper, IV-C: a 100-frame dummy video, mean of 100 runs.
PAPER_FRAMES_PER_S, PAPER_DEVICE = 290.0, "4 x V100, Xeon E5 2.2 GHz"
_PAPER_NETWORK = {"size": 224, "channel_divisor": 1, "streams": "both", "flow": "fen"}  # also the manifest's defaults
_PACKAGES = ("numpy", "openvino", "onnxruntime", "torch", "tensorrt", "av")
_NO_COUNT = "no roofline: this bundle's manifest has no multiply_adds; export it again with this version"
_COUNT = "fractions use the exported graph's multiply-adds, which are fewer than the original network's"


@dataclass(frozen=True)
class Accuracy:
    """Compared with the report's reference. features_relative_l2: the largest of both towers; None without features.
    matched, missed, extra: detections."""

    features_relative_l2: float | None
    score_max_abs: float
    reference_detections: int
    matched: int
    missed: int
    extra: int


@dataclass(frozen=True)
class Floor:
    """precision: in which the processor computes. fraction, towers_fraction: floor ÷ measured median."""

    precision: str
    stages: list[StageFloor]
    floor_ms: float
    fraction: float
    towers_floor_ms: float
    towers_fraction: float


@dataclass(frozen=True)
class Figures:
    """The measurements of a contender.

    runs_ms: every timed run, in order. clips_at_once: concurrent clips of a run. real_time_factor: frames/s ÷ 25;
    cameras: the same, rounded down. against_eager: the original network's median ÷ this one's. device:
    `paper_frames_per_s` of a cuda contender. second_start: with cached stages, None for a backend that caches none.
    peak_memory_mb: MiB. roofline: None without a count or a peak.
    """

    latency_ms: Summary
    runs_ms: list[float]
    frames_per_s: dict[str, float]
    clips_at_once: int
    real_time_factor: float
    cameras: int
    against_eager: float | None
    stages_ms: dict[str, float]
    device: dict[str, float] | None
    start: Start
    second_start: Start | None
    peak_memory_mb: float
    accuracy: Accuracy | None
    roofline: Floor | None
    joules_per_frame: float | None


@dataclass(frozen=True)
class ContenderReport:
    """error: why the contender did not finish, in one line; figures is None then."""

    contender: str
    backend: str
    precision: str
    error: str | None
    figures: Figures | None

    def to_dict(self) -> dict[str, Any]:
        names = {"contender": self.contender, "backend": self.backend, "precision": self.precision, "error": self.error}
        return names | (asdict(self.figures) if self.figures else {})


@dataclass(frozen=True)
class BenchReport:
    """The result of `bench`.

    made: ISO 8601, UTC. network: the bundle's model configuration. reference: the contender that accuracy is compared
    with. peaks: None if not measured. work: by stage, None if the bundle has no counts. steps: of contenders with
    incremental towers. comparison: with an earlier report, if one was given.
    """

    made: str
    bundle: str
    source: str
    network: dict[str, Any]
    frames: int
    runs: int
    performance: Performance
    device: str
    cores: int
    versions: dict[str, str]
    reference: str | None
    preparation: Preparation | None
    peaks: Peaks | None
    work: dict[str, Work] | None
    contenders: list[ContenderReport]
    steps: list[StepTimes]
    comparison: Comparison | None = None

    @property
    def measured(self) -> list[tuple[ContenderReport, Figures]]:
        """The contenders that finished."""
        return [(row, row.figures) for row in self.contenders if row.figures]

    @property
    def failures(self) -> list[str]:
        """Why contenders did not finish, a line each."""
        return [row.error for row in self.contenders if row.error]

    @property
    def paper_frames_per_s(self) -> float | None:
        """The paper's speed; None for a network of another size."""
        same = all(self.network.get(key, value) == value for key, value in _PAPER_NETWORK.items())
        return PAPER_FRAMES_PER_S if same else None

    @property
    def energy_note(self) -> str | None:
        """Why there is no energy; None where it was measured."""
        return None if any(figures.joules_per_frame is not None for _, figures in self.measured) else UNAVAILABLE

    @property
    def roofline_note(self) -> str:
        return _NO_COUNT if self.work is None else _COUNT

    @property
    def baseline(self) -> Baseline:
        """What a later report is compared with."""
        latency_ms = {row.contender: figures.latency_ms for row, figures in self.measured}
        return Baseline(self.made, self.bundle, self.device, self.cores, self.frames, latency_ms)

    def to_dict(self) -> dict[str, Any]:
        """The content of report.json; NaN and infinity are left to the writer."""
        paper = {"frames_per_s": self.paper_frames_per_s, "device": PAPER_DEVICE} if self.paper_frames_per_s else None
        roofline = asdict(self.peaks or Peaks()) | {"work": None, "note": self.roofline_note}
        if self.work is not None:
            roofline["work"] = {stage: asdict(work) for stage, work in self.work.items()}
            for key in ("multiply_adds", "multiply_adds_original"):
                roofline[key] = sum(getattr(work, key) for work in self.work.values())
        head = ("made", "bundle", "source", "network", "frames", "runs", "performance", "device", "cores", "versions")
        return {
            "schema": SCHEMA,
            "version": VERSION,
            **{name: getattr(self, name) for name in head},
            "warm_up_runs": WARM_UP_RUNS,
            "paper": paper,
            "reference": self.reference,
            "preparation": None if self.preparation is None else asdict(self.preparation),
            "roofline": roofline,
            "energy_note": self.energy_note,
            "contenders": [row.to_dict() for row in self.contenders],
            "steps": [asdict(row) for row in self.steps],
            **({"comparison": self.comparison.to_dict()} if self.comparison else {}),
        }


def build_report(
    bundle: Bundle,
    timed: Sequence[Timed],
    frames: int,
    runs: int,
    performance: Performance = "latency",
    preparation: Preparation | None = None,
    peaks: Peaks | None = None,
    steps: Sequence[StepTimes] = (),
) -> BenchReport:
    """Turn measurements into a report."""
    reference = _reference(timed)
    eager = next((one for one in timed if one.contender.backend == EAGER and not one.error and one.runs), None)
    return BenchReport(
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        bundle=bundle.name,
        source=bundle.manifest.source,
        network=dict(bundle.manifest.model),
        frames=frames,
        runs=runs,
        performance=performance,
        device=processor_name(),
        cores=cpu_count(),
        versions=_versions(),
        reference=reference.contender.name if reference else None,
        preparation=preparation,
        peaks=peaks,
        work=stage_work(bundle, frames),
        contenders=[
            ContenderReport(
                one.contender.name, one.contender.backend, one.contender.precision, one.error or None,
                _figures(bundle, one, frames, reference, eager, peaks),
            )
            for one in timed
        ],
        steps=list(steps),
    )  # fmt: skip


def _reference(timed: Sequence[Timed]) -> Timed | None:
    """The contender that others are compared with: the original network, else float32 on OpenVINO, else any float32."""
    exact = [one for one in timed if one.ready and one.contender.precision == "float32"]
    order = (EAGER, "openvino")
    return min(exact, key=lambda one: (*order, one.contender.backend).index(one.contender.backend), default=None)


def _figures(
    bundle: Bundle, one: Timed, frames: int, reference: Timed | None, eager: Timed | None, peaks: Peaks | None
) -> Figures | None:
    ready = one.ready
    if one.error or ready is None or not one.runs:
        return None
    runs_ms = [1000 * run.latency_s for run in one.runs]
    ms = summary(runs_ms)
    run_frames = frames * ready.clips
    rates = {"median": ms.median, "low": ms.high, "high": ms.low, "min": ms.max, "max": ms.min}
    factor = 1000 * run_frames / ms.median / REAL_TIME_FPS
    return Figures(
        latency_ms=ms,
        runs_ms=runs_ms,
        frames_per_s={name: 1000 * run_frames / value for name, value in rates.items()},
        clips_at_once=ready.clips,
        real_time_factor=factor,
        cameras=int(factor),
        against_eager=None if eager is None else ready.clips * _median_ms(eager) / ms.median,
        stages_ms={
            name: float(np.median([run.stages_s.get(name, nan) for run in one.runs]) * 1000)
            for name in (*bundle.stages, "detections")
        },
        device={"paper_frames_per_s": frames / one.paper_s} if one.paper_s else None,
        start=(one.first_start or ready).start,
        second_start=ready.start if one.first_start else None,
        peak_memory_mb=one.peak_memory_bytes / 2**20,
        accuracy=_accuracy(ready.answer, reference.ready.answer) if reference and reference.ready else None,
        roofline=_floor(bundle, one, ready, frames, peaks) if peaks else None,
        joules_per_frame=sum(one.joules.values()) / (run_frames * len(runs_ms)) if one.joules else None,
    )


def _median_ms(one: Timed) -> float:
    return float(np.median([run.latency_s for run in one.runs]) * 1000)


def _accuracy(ours: Answer, theirs: Answer) -> Accuracy:
    changes = compare_detections(theirs.detections, ours.detections)
    common = [name for name in theirs.features if name in ours.features]
    errors = [compare(ours.features[name], theirs.features[name]).relative_l2 for name in common]
    score_error = compare(ours.scores, theirs.scores).max_abs
    return Accuracy(
        max(errors, default=None), score_error, len(theirs.detections), changes.matched, changes.missed, changes.extra
    )


def _floor(bundle: Bundle, one: Timed, ready: Ready, frames: int, peaks: Peaks) -> Floor | None:
    """How close a contender is to its floor, in total and in the towers. Concurrent clips share the machine."""
    found = stage_floors(bundle, one.contender, frames, peaks)
    if found is None:
        return None
    precision, floors = found
    floor_s = sum(floor.floor_s for floor in floors)
    towers_floor_s = sum(floor.floor_s for floor in floors if floor.stage in TOWERS)
    towers_s = float(np.median([sum(run.stages_s.get(name, 0.0) for name in TOWERS) for run in one.runs]))
    return Floor(
        precision,
        floors,
        floor_ms=1000 * floor_s,
        fraction=ready.clips * 1000 * floor_s / _median_ms(one),
        towers_floor_ms=1000 * towers_floor_s,
        towers_fraction=ready.clips * towers_floor_s / towers_s,
    )


def _versions() -> dict[str, str]:
    found = {"infdet-deploy": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found

"""`bench`: measure how fast a bundle finds detections on this machine."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from infdet_deploy.benchmarks.comparison import compare_reports, read_baseline
from infdet_deploy.benchmarks.contenders import EAGER, contenders, cuda_kind
from infdet_deploy.benchmarks.measure import clip_jobs, measure
from infdet_deploy.benchmarks.preparation import measure_preparation
from infdet_deploy.benchmarks.random_bundle import random_bundle
from infdet_deploy.benchmarks.report import BenchReport, build_report
from infdet_deploy.benchmarks.roofline import measure_peaks, stage_work
from infdet_deploy.benchmarks.steps import in_steps, measure_steps
from infdet_deploy.benchmarks.tables import write_report
from infdet_deploy.bundle.loading import WEIGHTS, Bundle, load_bundle
from infdet_deploy.console import OnProgress, say
from infdet_deploy.errors import BundleError, InfdetError, UsageError, missing_package, one_line
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.snippets import MIN_FRAMES

DEFAULT_PRESET = "infdet"  # the paper's network


@dataclass(frozen=True)
class BenchOptions:
    """Settings of `bench`.

    Attributes:
        preset: with no bundle, the preset to measure with seeded random weights; `infdet` if None.
        frames: length of the clip.
        runs: timed runs of every contender.
        backend: comma-separated backends, `cuda` for the network in PyTorch on a GPU, or `all`.
        precision: comma-separated precisions, or `all`.
        against: `eager` also measures the original network in PyTorch.
        performance: `latency`, one clip on all CPUs; `throughput`, several concurrent clips, each on few CPUs.
        compare: an earlier report.json to compare with.
        out: folder to write report.json, report.md and report.html into.
    """

    preset: str | None = None
    frames: int = 100
    runs: int = 100
    backend: str = "openvino"
    precision: str = "all"
    against: Literal["eager"] | None = None
    performance: Performance = "latency"
    compare: Path | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < MIN_FRAMES:
            raise UsageError(f"--frames is {self.frames}; a clip needs at least {MIN_FRAMES}")
        if self.runs < 1:
            raise UsageError(f"--runs is {self.runs}; at least 1 is needed")
        if self.against not in (None, EAGER):
            raise UsageError(f"--against {self.against}: expected eager, the original network in eager PyTorch")
        if self.performance not in get_args(Performance):
            raise UsageError(f"no performance '{self.performance}'; expected latency or throughput")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise UsageError(f"--out {self.out} is a file; give a folder for report.json, report.md and report.html")


def bench(
    bundle: Bundle | Path | str | None = None,
    options: BenchOptions | None = None,
    on_progress: OnProgress | None = None,
) -> BenchReport:
    """Measure whole clips from frames to detections, contenders in alternation, each in its own process.

    bundle: None measures `options.preset`. A contender that fails is named in the report; the others continue. Raises
    UsageError for a wrong request and BundleError for a damaged bundle.
    """
    options = options or BenchOptions()
    if bundle is not None and options.preset is not None:
        raise UsageError("give either a bundle or --preset, not both")
    baseline = read_baseline(options.compare) if options.compare else None
    preset = None
    if bundle is None:
        preset = options.preset or DEFAULT_PRESET
        bundle = random_bundle(preset, options.precision, options.backend)
    elif not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    report = _measure(bundle, preset, _choose(bundle, preset, options), options, on_progress)
    if baseline is not None:
        report = replace(report, comparison=compare_reports(baseline, report.baseline))
    if options.out is not None:
        write_report(options.out, report)
    return report


def _choose(bundle: Bundle, preset: str | None, options: BenchOptions) -> list[Contender]:
    entries = contenders(bundle, options.backend, options.precision, options.performance)
    if any(cuda_kind(entry.backend) for entry in entries):
        try:
            _check_network(bundle, preset, "--backend cuda")
        except InfdetError as error:
            if options.backend != "all":
                raise
            say(f"leaving out cuda: {one_line(error)}")
            entries = [entry for entry in entries if not cuda_kind(entry.backend)]
    if options.against:
        _check_network(bundle, preset, f"--against {options.against}")
        entries.append(Contender(EAGER, "float32"))
    return entries


def _check_network(bundle: Bundle, preset: str | None, option: str) -> None:
    """Raise InfdetError where the network in PyTorch, which `option` needs, cannot be built."""
    if preset is None and not (bundle.path / WEIGHTS).is_file():
        raise BundleError(
            f"{bundle.path} has no {WEIGHTS}, from which {option} builds the network; export it with weights, or leave "
            f"{option} out"
        )
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "export", option)


def _measure(
    bundle: Bundle,
    preset: str | None,
    entries: list[Contender],
    options: BenchOptions,
    on_progress: OnProgress | None,
) -> BenchReport:
    frames = options.frames
    preparation = measure_preparation(frames, bundle.size, bundle.preparation.mode)
    peaks = measure_peaks() if stage_work(bundle, frames) is not None else None
    with clip_jobs(bundle, entries, frames, preset, options.performance) as jobs:
        timed = measure(jobs, options.runs, on_progress)
    steps = []
    for entry in in_steps(bundle, [one.contender for one in timed if not one.error]):
        try:
            steps.append(measure_steps(bundle, entry, options.runs))
        except InfdetError as error:
            say(f"{entry.name}, incremental: {one_line(error)}")
    if peaks is not None:
        peaks = peaks.max(measure_peaks())  # measured before and after, because other programs may use the machine
    return build_report(bundle, timed, frames, options.runs, options.performance, preparation, peaks, steps)

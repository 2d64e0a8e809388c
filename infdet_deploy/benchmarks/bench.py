"""`bench`: what to measure when arguments are left out, and the calls behind it."""

import importlib.util
import multiprocessing
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.bundle.newest import newest_bundle
from infdet_deploy.console import progress, say
from infdet_deploy.errors import InfdetError, UsageError, missing_package, one_line
from infdet_deploy.files import user_cache

if TYPE_CHECKING:
    from infdet_deploy.benchmarks.latency import Contender
    from infdet_deploy.bundle.loading import Bundle
    from infdet_deploy.runtime.backends.base import Performance

RANDOM_PRECISIONS = ("float32", "bfloat16", "float16", "int8")
ALL_RANDOM = ("float32", "bfloat16", "int8")  # what `all` means for a preset; float16 is for GPUs


def bench(
    bundle: Path | None,
    preset_name: str | None,
    frames: int,
    runs: int,
    backends: str,
    precisions: str,
    against: str | None = None,
    compare: Path | None = None,
    out: Path | None = None,
    rewrites: bool = False,
    performance: "Performance" = "latency",
) -> dict[str, Any]:
    """Measure a bundle: the one named, a preset's with random weights, the newest here, or the paper-size network.

    against: `eager` for the original network as one more contender; compare: an earlier report; out: a folder for the
    report's files; rewrites: measure those of export as well. Gives the report, JSON-ready. Raises UsageError for a
    request that is wrong.
    """
    from infdet_deploy.benchmarks.comparison import compare_reports, read_report
    from infdet_deploy.benchmarks.latency import EAGER, Contender, contenders, measure
    from infdet_deploy.benchmarks.preparation import measure_preparation
    from infdet_deploy.benchmarks.report import build_report
    from infdet_deploy.benchmarks.roofline import better, measure_peaks, stage_work
    from infdet_deploy.benchmarks.steps import in_steps, measure_steps
    from infdet_deploy.benchmarks.workers import cuda_kind
    from infdet_deploy.bundle.loading import WEIGHTS, load_bundle
    from infdet_deploy.runtime.backends.base import PERFORMANCE
    from infdet_deploy.snippets import MIN_FRAMES

    if bundle is not None and preset_name is not None:
        raise UsageError("give either a bundle or --preset, not both")
    if frames < MIN_FRAMES:
        raise UsageError(f"--frames is {frames}; a clip needs at least {MIN_FRAMES}")
    if runs < 1:
        raise UsageError(f"--runs is {runs}; at least 1 is needed")
    if against not in (None, EAGER):
        raise UsageError(f"--against {against}: expected eager, the original network in eager PyTorch")
    if performance not in PERFORMANCE:
        raise UsageError(f"no performance '{performance}'; expected {' or '.join(PERFORMANCE)}")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder for report.json, report.md and report.html")
    old = read_report(compare) if compare is not None else None
    if bundle is None and preset_name is None:
        bundle = newest_bundle()
        say(f"measuring {bundle}, the newest bundle here" if bundle else "no bundle here")
    if bundle is None:
        preset_name = preset_name or "infdet"
        loaded = random_bundle(preset_name, precisions, backends)
    else:
        loaded = load_bundle(bundle)
    for asked, option in ((against, "--against eager"), (rewrites, "--rewrites")):
        if asked:
            _check_network(loaded, bundle is None, option)
    entries = contenders(loaded, backends, precisions, performance)
    if any(cuda_kind(entry.backend) for entry in entries):
        try:
            _check_network(loaded, bundle is None, "--backends cuda")
        except InfdetError as error:
            if backends != "all":
                raise
            say(f"without cuda's contenders: {one_line(error)}")
            entries = [entry for entry in entries if not cuda_kind(entry.backend)]
    rewritten = _rewritten(entries) if rewrites else []
    if against:
        entries.append(Contender(EAGER, "float32"))
    preparation = measure_preparation(frames, loaded.size, loaded.frame_mode)
    rated = stage_work(loaded, frames) is not None
    peaks = measure_peaks() if rated else None
    with progress("bench") as update:
        found = measure(loaded, entries, frames, runs, update, preset_name, performance=performance)
    steppers = in_steps(loaded, [one.contender for one in found if not one.error])
    steps = []
    for entry in steppers:
        try:
            steps.append(measure_steps(loaded, entry, runs))
        except InfdetError as error:
            say(f"{entry.name}, in steps: {one_line(error)}")
    changed = None
    if rewritten:
        from infdet_deploy.benchmarks.rewrites import measure_rewrites

        weights = None if bundle is None else bundle / WEIGHTS
        with progress("bench") as update:
            changed = measure_rewrites(weights, preset_name, rewritten, frames, runs, update)
    if peaks is not None:
        peaks = better(peaks, measure_peaks())  # before and after: others may use the machine meanwhile
    report = build_report(loaded, found, frames, runs, preparation, peaks, performance)
    report |= {"steps": steps, "rewrites": changed}
    if old is not None:
        report["comparison"] = compare_reports(old, report)
    if out is not None:
        from infdet_deploy.benchmarks.page import write_report

        write_report(out, report)
    return report


def _check_network(bundle: "Bundle", seeded: bool, option: str) -> None:
    """Fail where the network in PyTorch, which `option` is about, cannot be had. seeded: its weights need no file."""
    from infdet_deploy.bundle.loading import WEIGHTS
    from infdet_deploy.errors import BundleError

    if not seeded and not (bundle.path / WEIGHTS).is_file():
        raise BundleError(
            f"{bundle.path} holds no {WEIGHTS}, which {option} builds the network from; export it with weights, or "
            f"leave {option} out"
        )
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "export", option)


def _rewritten(entries: "Sequence[Contender]") -> list[str]:
    """The precisions that rewrites are measured in: those of OpenVINO's contenders that stages are exported in."""
    from infdet_deploy.benchmarks.rewrites import BACKEND, PRECISIONS

    found = [entry.precision for entry in entries if entry.backend == BACKEND and entry.precision in PRECISIONS]
    if not found:
        raise UsageError(f"--rewrites measures {BACKEND} in {' and '.join(PRECISIONS)}, of which none is asked for")
    return found


def random_bundle(preset_name: str, precisions: str = "float32", backends: str = "openvino") -> "Bundle":
    """A preset's network with seeded random weights as a bundle in the user's cache; precisions (comma-separated, or
    `all`) that are not there yet are exported into it. int8 needs onnxruntime; `all` leaves it out without, and
    where none of the backends computes it."""
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.model.presets import preset
    from infdet_deploy.runtime.backends.registry import backend_names, get_backend, is_available

    preset(preset_name)
    asked = backend_names() if backends == "all" else tuple(filter(backend_names().__contains__, backends.split(",")))
    int8 = is_available("onnxruntime") and any(get_backend(backend).supports("int8") for backend in asked)
    wanted = tuple(p for p in ALL_RANDOM if p != "int8" or int8)
    if precisions != "all":
        wanted = tuple(precisions.split(","))
        for precision in wanted:
            if precision not in RANDOM_PRECISIONS:
                raise UsageError(f"no precision '{precision}'; precisions are {', '.join(RANDOM_PRECISIONS)}, or all")
        if "int8" in wanted and not is_available("onnxruntime"):
            raise missing_package("onnxruntime", "onnxruntime", "int8 of a preset")
        if "int8" in wanted and backends != "all" and "openvino" in asked:
            get_backend("openvino").check_supports("int8")  # before minutes of export
    path = user_cache() / f"{preset_name}-random-3.infdet"
    if path.is_dir():
        try:
            bundle = load_bundle(path)
        except InfdetError as error:
            say(f"exporting again: {error}")
            shutil.rmtree(path, ignore_errors=True)
        else:
            if set(wanted) <= set(bundle.precisions):
                say(f"measuring the network of preset {preset_name} with seeded random weights, from {path}")
                return bundle
    say(f"exporting the network of preset {preset_name} with seeded random weights ({', '.join(wanted)}) into {path}")
    # In a process of its own, whose memory and threads end with it.
    worker = multiprocessing.get_context("spawn").Process(target=_export_random, args=(preset_name, path, wanted))
    worker.start()
    try:
        worker.join()
    except KeyboardInterrupt:  # which a Ctrl-C is to the worker too: it removes what it began
        worker.join(10)
        worker.terminate()
        raise
    if worker.exitcode:
        raise InfdetError(f"could not export preset {preset_name} into {path}; the lines above say why")
    return load_bundle(path)


def _export_random(preset_name: str, path: Path, precisions: tuple[str, ...]) -> None:
    try:
        from infdet_deploy.exporting.random_bundle import export_random

        with progress("export") as update:
            export_random(preset_name, path, precisions, update)
    except KeyboardInterrupt:
        sys.exit(1)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        say(f"infdet-deploy: {line}")
        sys.exit(1)

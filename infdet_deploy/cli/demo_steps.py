"""The steps of `demo`: data, training, evaluation, export, verification, speed, detection, pictures."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.archive.detect import DetectOptions, detect
from infdet_deploy.benchmarks.bench import BenchOptions, bench
from infdet_deploy.benchmarks.random_bundle import random_bundle
from infdet_deploy.benchmarks.report import BenchReport
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.cli.train import show_progress
from infdet_deploy.config import read_json
from infdet_deploy.console import finite, say
from infdet_deploy.datasets.annotations import read_annotations
from infdet_deploy.datasets.instances import Clip
from infdet_deploy.detections import Detection, compare_detections
from infdet_deploy.errors import InfdetError
from infdet_deploy.evaluation.evaluate import evaluate
from infdet_deploy.evaluation.options import EvaluateOptions
from infdet_deploy.exporting.export import export
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.files import write_json
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.thresholds import scored_instances
from infdet_deploy.model.weights import load_network, random_network, save_network
from infdet_deploy.plots.clip import draw_clip
from infdet_deploy.precision import Precision
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.training.options import TrainOptions
from infdet_deploy.training.run_folder import BEST, RUN
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.train import make_synthetic, train
from infdet_deploy.verification.verify import verify

CONTENDERS = (
    Contender("openvino", "float32"),
    Contender("openvino", "float16"),
    Contender("onnxruntime", "float16"),
)
PRECISIONS: tuple[Precision, ...] = ("float32", "float16")
Detections = Mapping[str, Sequence[Detection]]  # by clip


def run(out: Path, sample: Path | None) -> None:
    """Run every step in the folder `out`; data and a finished run in it are used again.

    sample: a real recording to detect in as well. Raises InfdetError where a step fails.
    """
    begun = time.monotonic()

    def step(number: int, text: str) -> None:
        say(f"[{number}/6, {time.monotonic() - begun:.0f} s] {text}")

    out.mkdir(parents=True, exist_ok=True)
    data, run_folder, bundle_path = out / "data", out / "run", out / "demo.infdet"
    step(1, "synthetic thermal data")
    with show_progress() as show:
        make_synthetic(data, show)
    clips = read_annotations(data / "annotations.json", "testing")
    step(2, "training the tiny network")
    _train(data, run_folder)
    step(3, "evaluating the network before training")
    untrained = _untrained_map(data, run_folder)
    step(4, "exporting with float16, verifying every stage")
    bundle, errors = _export(run_folder, bundle_path)
    detections = {entry: _detect(bundle, entry, [_video(data, clip) for clip in clips]) for entry in CONTENDERS}
    step(5, "measuring speed")
    report = bench(bundle, BenchOptions(runs=20, backend="openvino,onnxruntime"))
    write_json(out / "bench.json", finite(report.to_dict()))
    step(6, "detecting and drawing")
    pictures = _draw(bundle, data, clips, out, sample)

    _print_accuracy(clips, bundle.classes, untrained, detections)
    print("largest relative L2 of a stage: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    _print_speed(report)
    for picture in pictures:
        print(f"picture: {picture}")
    print(f"bundle: {bundle_path}   took {time.monotonic() - begun:.0f} s")
    print(f"next: infdet-deploy detect {bundle_path} {_video(data, clips[0])}")


def _video(data: Path, clip: Clip) -> Path:
    return data / "videos" / f"{clip.name}.mp4"


def _train(data: Path, run_folder: Path) -> None:
    """Train the tiny network; resume an unfinished run, keep a finished one."""
    state: dict[str, Any] = read_json(run_folder / RUN, "run") if (run_folder / RUN).is_file() else {}
    if state and state.get("training") != TrainConfig(seed=0).to_json():
        raise InfdetError(f"{run_folder} was made by another version; remove it and run again")
    if "result" not in state:
        with show_progress() as show:
            train(data, TrainOptions(out=run_folder, resume=bool(state)), show)


def _untrained_map(data: Path, run_folder: Path) -> float:
    """mAP@0.5 of the network with random weights."""
    config = load_network(run_folder / BEST)[0].config
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "untrained.safetensors"
        save_network(weights, random_network(config), config)
        metrics = evaluate(weights, data, EvaluateOptions(subset="testing", protocol="thumos14")).detection
    assert metrics is not None
    return metrics.protocols["thumos14"].map["0.5"]


def _export(run_folder: Path, path: Path) -> tuple[Bundle, dict[str, float]]:
    """Export and verify; the largest relative L2 of a stage, by precision."""
    bundle = export(run_folder, path, ExportOptions(PRECISIONS)).bundle
    checks = verify(bundle).stages
    if failed := next((check for check in checks if not check.passed), None):
        raise InfdetError(f"{failed.stage} on {failed.backend} {failed.precision}: rel. L2 {failed.relative_l2:.1e}")
    return bundle, {p: max(check.relative_l2 for check in checks if check.precision == p) for p in PRECISIONS}


def _detect(bundle: Bundle, entry: Contender, videos: Sequence[Path]) -> Detections:
    found = detect(bundle.path, videos, DetectOptions(backend=entry.backend, precision=entry.precision))
    return {result.name: result.detections for result in found}


def _draw(bundle: Bundle, data: Path, clips: Sequence[Clip], out: Path, sample: Path | None) -> list[Path]:
    """A picture of a test clip of each class, and of the sample with this network and with one of the paper's size."""
    with Detector(bundle) as detector:
        shown = [next(c for c in clips if any(i.label == label for i in c.instances)) for label in bundle.classes]
        pictures = [_draw_one(detector, _video(data, clip), out, clip) for clip in shown]
        if sample is not None:
            pictures.append(_draw_one(detector, sample, out, None, "demo network"))
    if sample is not None:
        with Detector(random_bundle("infdet")) as detector:
            pictures.append(_draw_one(detector, sample, out, None, "paper-size network, random weights"))
    return pictures


def _draw_one(detector: Detector, path: Path, out: Path, clip: Clip | None, note: str = "") -> Path:
    video = detector.read(path)
    scores = detector.scores(video.frames)
    found = detector.detections(scores, len(video.frames), video.fps)
    rule, classes = detector.bundle.rule, detector.bundle.classes
    suffix = "-" + note.split(",")[0].replace(" ", "-") if note else ""
    truth = None if clip is None else clip.instances
    return draw_clip(out / f"{video.name}{suffix}.png", video, scores, classes, rule.thresholds, found, truth, note)


def _print_accuracy(
    clips: Sequence[Clip], classes: Sequence[str], untrained: float, detections: Mapping[Contender, Detections]
) -> None:
    print(f"\nmAP@0.5 on {len(clips)} test clips, which training has not seen (THUMOS'14)")
    print(f"  untrained, eager            {untrained:.3f}")
    reference = detections[CONTENDERS[0]]
    for entry, found in detections.items():
        scored = scored_instances((clip.name, found[clip.name]) for clip in clips)
        result = mean_average_precision(clips, scored, "thumos14", classes)
        changes = [compare_detections(reference[clip.name], found[clip.name]) for clip in clips]
        print(
            f"  trained, {entry.name:<20}{result.map['0.5']:.3f}   (IoU 0.1: {result.map['0.1']:.3f}; "
            f"compared with float32: {sum(c.missed for c in changes)} missed, {sum(c.extra for c in changes)} extra, "
            f"boundaries within {max(c.boundary_shift_s for c in changes):.2f} s)"
        )


def _print_speed(report: BenchReport) -> None:
    for row, figures in report.measured:
        rate, factor = figures.frames_per_s["median"], figures.real_time_factor
        print(f"{row.contender}: {rate:.0f} frames/s, {factor:.1f} times real time")

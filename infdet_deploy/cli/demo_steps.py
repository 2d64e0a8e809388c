"""The whole way in one command: data, training, evaluation, export, verification, speed, detection, pictures."""

import time
from pathlib import Path

from infdet_deploy.benchmarks.bench import BenchOptions, bench
from infdet_deploy.benchmarks.random_bundle import random_bundle
from infdet_deploy.config import read_json
from infdet_deploy.console import finite, say
from infdet_deploy.datasets.annotations import Clip, read_annotations
from infdet_deploy.detections import compare_detections, default_rule
from infdet_deploy.errors import InfdetError
from infdet_deploy.exporting.export import export
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.files import write_json
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.thresholds import scored_instances
from infdet_deploy.model.weights import load_network, random_network
from infdet_deploy.plots.clip import draw_clip
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.training import running as training
from infdet_deploy.training.checkpoint import BEST, RUN
from infdet_deploy.training.dataset import load_dataset
from infdet_deploy.training.evaluation import evaluate_network
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.verification.references import load_reference, sample_references
from infdet_deploy.verification.stages import stage_parity


def run(out: Path, sample: Path | None) -> None:
    """Do it all below `out`; what is there already (data, a finished run) is used again.

    sample: a real recording to run as well. Raises InfdetError where a step does not hold what it promises.
    """
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    data, run_folder, bundle_path = out / "data", out / "run", out / "demo.infdet"
    _step(1, "synthetic thermal data", begun)
    training.make_synthetic(data)
    _step(2, "training the tiny network", begun)
    run = read_json(run_folder / RUN, "run") if (run_folder / RUN).is_file() else {}
    if run and run.get("training") != TrainConfig(seed=0).to_json():
        raise InfdetError(f"{run_folder} was made by another version; remove it and run again")
    if "result" not in run:
        training.train(data, "tiny", run_folder, bool(run), None, {}, {})

    _step(3, "evaluating the network before training", begun)
    network, _ = load_network(run_folder / BEST)
    held_out = load_dataset(data, "testing", network.config)
    rule = default_rule(network.config.classes)
    untrained = evaluate_network(random_network(network.config), held_out, rule)

    _step(4, "exporting with float16, verifying every stage", begun)
    bundle = export(run_folder, bundle_path, ExportOptions(("float32", "float16"))).bundle
    checks = list(stage_parity(bundle, sample_references(load_reference(bundle))))
    for failed in (c for c in checks if not c.passed):
        raise InfdetError(f"{failed.stage} on {failed.backend} {failed.precision}: rel. L2 {failed.relative_l2:.1e}")
    worst = {p: max(c.relative_l2 for c in checks if c.precision == p) for p in ("float32", "float16")}

    clips = {clip.name: clip for clip in read_annotations(data / "annotations.json", "testing")}
    found = {}
    for backend, precision in (("openvino", "float32"), ("openvino", "float16"), ("onnxruntime", "float16")):
        with Detector(bundle, backend, precision) as detector:
            found[f"{backend} {precision}"] = {name: detector.detect(data / "videos" / f"{name}.mp4") for name in clips}
    _step(5, "measuring speed", begun)
    report = bench(bundle_path, BenchOptions(runs=20, backend="openvino,onnxruntime"))
    write_json(out / "bench.json", finite(report.to_dict()))

    _step(6, "detecting and drawing", begun)
    pictures = []
    with Detector(bundle) as detector:
        for label in bundle.classes:
            clip = next(c for c in clips.values() if any(i.label == label for i in c.instances))
            pictures.append(_draw(detector, data / "videos" / f"{clip.name}.mp4", out, clip))
        if sample is not None:
            pictures.append(_draw(detector, sample, out, None, "demo network"))
    if sample is not None:
        with Detector(random_bundle("infdet")) as detector:
            pictures.append(_draw(detector, sample, out, None, "paper-size network, random weights"))

    print(f"\nmAP@0.5 on {len(clips)} test clips, which training has not seen (THUMOS'14)")
    print(f"  untrained, eager            {untrained['map']['0.5']:.3f}")
    reference = found["openvino float32"]
    for name, detections in found.items():
        scored = scored_instances((clip, detections[clip]) for clip in clips)
        result = mean_average_precision(list(clips.values()), scored, "thumos14", bundle.classes)
        changes = [compare_detections(reference[clip], detections[clip]) for clip in clips]
        print(
            f"  trained, {name:<20}{result.map['0.5']:.3f}   (IoU 0.1: {result.map['0.1']:.3f}; "
            f"against float32: {sum(c.missed for c in changes)} missed, {sum(c.extra for c in changes)} extra, "
            f"boundaries within {max(c.boundary_shift_s for c in changes):.2f} s)"
        )
    print(f"largest relative L2 of a stage: float32 {worst['float32']:.1e}, float16 {worst['float16']:.1e}")
    for row, figures in report.measured:
        speed, factor = figures.frames_per_s["median"], figures.real_time_factor
        print(f"{row.contender}: {speed:.0f} frames/s, {factor:.1f} times real time")
    for picture in pictures:
        print(f"picture: {picture}")
    print(f"bundle: {bundle_path}   took {time.monotonic() - begun:.0f} s")
    print(f"next: infdet-deploy detect {bundle_path} {data}/videos/{next(iter(clips))}.mp4")


def _step(number: int, text: str, begun: float) -> None:
    say(f"[{number}/6, {time.monotonic() - begun:.0f} s] {text}")


def _draw(detector: Detector, path: Path, out: Path, clip: Clip | None, note: str = "") -> Path:
    video = detector.read(path)
    scores = detector.scores(video.frames)
    found = detector.detections(scores, len(video.frames), video.fps)
    rule, classes = detector.bundle.rule, detector.bundle.classes
    suffix = "-" + note.split(",")[0].replace(" ", "-") if note else ""
    truth = None if clip is None else clip.instances
    return draw_clip(out / f"{video.name}{suffix}.png", video, scores, classes, rule.thresholds, found, truth, note)

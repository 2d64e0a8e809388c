"""`demo`."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infdet_deploy.cli.app import app
from infdet_deploy.cli.train import show_progress
from infdet_deploy.config import read_json
from infdet_deploy.console import finite, say
from infdet_deploy.errors import InfdetError
from infdet_deploy.files import write_json

if TYPE_CHECKING:
    from infdet_deploy import Clip, Detection, Verification

CONTENDERS = (("openvino", "float32"), ("openvino", "float16"), ("onnxruntime", "float16"))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("demo"),
    sample: Annotated[Path | None, typer.Option(help="A real recording to run as well.")] = None,
) -> None:
    """Run every step on synthetic data: make it, train, evaluate, export, verify, bench, detect, draw.

    Rerunning reuses the data and a finished run in the folder.
    """
    import infdet_deploy as infdet
    from infdet_deploy.benchmarks.random_bundle import random_bundle
    from infdet_deploy.training.train import make_synthetic

    begun = time.monotonic()

    def step(number: int, text: str) -> None:
        say(f"[{number}/6, {time.monotonic() - begun:.0f} s] {text}")

    out.mkdir(parents=True, exist_ok=True)
    data, run, bundle = out / "data", out / "run", out / "demo.infdet"
    step(1, "synthetic thermal data")
    with show_progress() as show:
        make_synthetic(data, show)
    step(2, "training the tiny network")
    _train(data, run)
    step(3, "evaluating the network before training")
    untrained = _untrained_map(data, run)
    step(4, "exporting with float16, verifying every stage")
    infdet.export(run, bundle, infdet.ExportOptions(("float32", "float16")))
    verified = infdet.verify(bundle)
    if failed := next((row for row in verified.stages if not row.passed), None):
        raise InfdetError(f"{failed.stage} on {failed.backend} {failed.precision}: rel. L2 {failed.relative_l2:.1e}")
    step(5, "measuring speed")
    report = infdet.bench(bundle, infdet.BenchOptions(runs=20, backend="openvino,onnxruntime"))
    write_json(out / "bench.json", finite(report.to_dict()))
    step(6, "detecting and drawing")
    clips = infdet.read_annotations(data / "annotations.json", "testing")
    videos = [data / "videos" / f"{clip.name}.mp4" for clip in clips]
    detections = {}
    for backend, precision in CONTENDERS:
        options = infdet.DetectOptions(backend, precision)
        found = infdet.detect(bundle, videos, options)
        detections[f"{backend} {precision}"] = {result.name: result.detections for result in found}
    infdet.evaluate(bundle, data, infdet.EvaluateOptions(out=out / "evaluation"))
    pictures = [out / "evaluation"]
    if sample is not None:
        for path, folder in ((bundle, "sample"), (random_bundle("infdet").path, "sample-paper-size-random-weights")):
            for result in infdet.detect(path, [sample], infdet.DetectOptions(picture=out / folder)):
                if result.error:
                    raise InfdetError(result.error)
            pictures.append(out / folder)

    _print_accuracy(clips, verified, untrained, detections)
    for row, figures in report.measured:
        rate, factor = figures.frames_per_s["median"], figures.real_time_factor
        print(f"{row.contender}: {rate:.0f} frames/s, {factor:.1f} times real time")
    print(f"pictures: {', '.join(map(str, pictures))}")
    print(f"bundle: {bundle}   took {time.monotonic() - begun:.0f} s")
    print(f"next: infdet-deploy detect {bundle} {videos[0]}")


def _train(data: Path, run: Path) -> None:
    """Train the tiny network; resume an unfinished run, keep a finished one."""
    import infdet_deploy as infdet
    from infdet_deploy.training.options import TrainConfig
    from infdet_deploy.training.run_folder import RUN

    state: dict[str, Any] = read_json(run / RUN, "run") if (run / RUN).is_file() else {}
    if state and state.get("training") != TrainConfig(seed=0).to_json():
        raise InfdetError(f"{run} was made by another version; remove it and run again")
    if "result" not in state:
        with show_progress() as show:
            infdet.train(data, infdet.TrainOptions(out=run, resume=bool(state)), show)


def _untrained_map(data: Path, run: Path) -> float:
    """mAP@0.5 of the network with random weights."""
    import infdet_deploy as infdet
    from infdet_deploy.model.weights import load_network, random_network, save_network
    from infdet_deploy.training.run_folder import BEST

    config = load_network(run / BEST)[0].config
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "untrained.safetensors"
        save_network(weights, random_network(config), config)
        options = infdet.EvaluateOptions(subset="testing", protocol="thumos14")
        metrics = infdet.evaluate(weights, data, options).detection
    assert metrics is not None
    return metrics.protocols["thumos14"].map["0.5"]


def _print_accuracy(
    clips: "Sequence[Clip]",
    verified: "Verification",
    untrained: float,
    detections: "Mapping[str, Mapping[str, Sequence[Detection]]]",
) -> None:
    """detections: by contender, then by clip; the first contender is the reference."""
    from infdet_deploy.detections import compare_detections
    from infdet_deploy.metrics.average_precision import mean_average_precision
    from infdet_deploy.metrics.thresholds import scored_instances

    print(f"\nmAP@0.5 on {len(clips)} held-out test clips (THUMOS'14)")
    print(f"  untrained, eager            {untrained:.3f}")
    reference = next(iter(detections.values()))
    for contender, found in detections.items():
        scored = scored_instances((clip.name, found[clip.name]) for clip in clips)
        scores = mean_average_precision(clips, scored, "thumos14", verified.bundle.classes).map
        changes = [compare_detections(reference[clip.name], found[clip.name]) for clip in clips]
        print(
            f"  trained, {contender:<20}{scores['0.5']:.3f}   (IoU 0.1: {scores['0.1']:.3f}; "
            f"compared with float32: {sum(c.missed for c in changes)} missed, {sum(c.extra for c in changes)} extra, "
            f"boundaries within {max(c.boundary_shift_s for c in changes):.2f} s)"
        )
    errors: dict[str, float] = {}
    for row in verified.stages:
        errors[row.precision] = max(row.relative_l2, errors.get(row.precision, 0.0))
    print("largest relative L2 of a stage: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))

"""`demo`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infdet_deploy.bundle.pretrained import PRETRAINED
from infdet_deploy.cli.app import app
from infdet_deploy.cli.train import show_progress
from infdet_deploy.config import read_json
from infdet_deploy.console import finite, progress, say, table
from infdet_deploy.errors import InfdetError
from infdet_deploy.files import write_json
from infdet_deploy.precision import Precision

if TYPE_CHECKING:
    from infdet_deploy import Clip, Detection

CLIPS, TEST_SHARE, FPS = 72, 1 / 3, 12.5
THRESHOLDS = ("0.3",)  # the same for both networks; the pretrained one's own are chosen for few false alarms
STEPS = 120
PRECISIONS: tuple[Precision, ...] = ("float32", "float16")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("demo"),
    sample: Annotated[Path | None, typer.Option(help="A real recording to run as well.")] = None,
) -> None:
    """Fit the pretrained network to a camera, and deploy it: draw clips, fine-tune, export, verify, bench, detect.

    The clips are synthetic. Rerunning reuses the data and a finished run in the folder.
    """
    import infdet_deploy as infdet

    begun = time.monotonic()

    def step(number: int, text: str) -> None:
        say(f"[{number}/6, {time.monotonic() - begun:.0f} s] {text}")

    out.mkdir(parents=True, exist_ok=True)
    data, run, bundle = out / "data", out / "run", out / "demo.infdet"
    step(1, f"drawing {CLIPS} clips of one kind of camera, with and without actions")
    _draw(data)
    clips = infdet.read_annotations(data / "annotations.json", "testing")
    videos = [data / "videos" / f"{clip.name}.mp4" for clip in clips]
    pretrained = _detections(PRETRAINED, videos, "float32")
    step(2, f"fine-tuning the pretrained network on {CLIPS - len(clips)} of the clips")
    _fine_tune(data, run)
    step(3, "exporting with float16, each stage compared with the network")
    with progress("export") as update:
        infdet.export(run, bundle, infdet.ExportOptions(PRECISIONS), update)
    step(4, "verifying every stage on every backend")
    with progress("verify") as update:
        verified = infdet.verify(bundle, on_progress=update)
    if failed := next((row for row in verified.stages if not row.passed), None):
        raise InfdetError(f"{failed.stage} on {failed.backend} {failed.precision}: rel. L2 {failed.relative_l2:.1e}")
    step(5, "measuring speed")
    with progress("bench") as update:
        report = infdet.bench(bundle, infdet.BenchOptions(runs=20, backend="openvino,onnxruntime"), update)
    write_json(out / "bench.json", finite(report.to_dict()))
    step(6, "detecting in clips that the training has not seen, and drawing")
    found = {precision: _detections(bundle, videos, precision) for precision in PRECISIONS}
    shown = [videos[0], *([] if sample is None else [sample])]
    _detections(bundle, shown, "float32", out / "pictures")

    _print_accuracy(clips, pretrained, found)
    errors: dict[str, float] = {}
    for row in verified.stages:
        errors[row.precision] = max(row.relative_l2, errors.get(row.precision, 0.0))
    print("largest relative L2 of a stage: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    for contender, figures in report.measured:
        rate, factor = figures.frames_per_s["median"], figures.real_time_factor
        print(f"{contender.contender}: {rate:.0f} frames/s, {factor:.1f} times real time")
    print(f"pictures: {out / 'pictures'}   bundle: {bundle}   took {time.monotonic() - begun:.0f} s")
    print(f"next: infdet-deploy detect {bundle} {videos[0]}")


def _draw(data: Path) -> None:
    """Draw the synthetic clips; keep finished ones."""
    from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize

    if not data.is_dir():
        with progress("draw clips") as update:
            synthesize(data, SynthesizeOptions(CLIPS, fps=FPS, test_share=TEST_SHARE, quiet=True), update)


def _fine_tune(data: Path, run: Path) -> None:
    """Fine-tune the pretrained network; resume an unfinished run, keep a finished one."""
    import infdet_deploy as infdet
    from infdet_deploy.training.run_folder import RUN

    state: dict[str, Any] = read_json(run / RUN, "run") if (run / RUN).is_file() else {}
    if "result" not in state:
        settings = {"validate_every": STEPS // 2}
        options = infdet.TrainOptions(
            out=run, weights=Path(PRETRAINED), steps=STEPS, settings=settings, resume=bool(state)
        )
        with show_progress() as show:
            infdet.train(data, options, show)


def _detections(
    bundle: Path | str, videos: Sequence[Path], precision: str, picture: Path | None = None
) -> "dict[str, Sequence[Detection]]":
    """Detections by recording."""
    import infdet_deploy as infdet

    found: dict[str, Sequence[Detection]] = {}
    with progress(f"detect {precision}") as update:
        options = infdet.DetectOptions(precision=precision, picture=picture, thresholds=THRESHOLDS)
        for result in infdet.detect(bundle, videos, options, update):
            if result.error:
                raise InfdetError(result.error)
            found[result.name] = result.detections
    return found


def _print_accuracy(
    clips: "Sequence[Clip]",
    pretrained: "Mapping[str, Sequence[Detection]]",
    found: "Mapping[Precision, Mapping[str, Sequence[Detection]]]",
) -> None:
    """found: by precision, then by clip."""
    from infdet_deploy.detections import INFDET_CLASSES, compare_detections
    from infdet_deploy.metrics.average_precision import mean_average_precision
    from infdet_deploy.metrics.thresholds import scored_instances

    rows = []
    for name, by_clip in (("pretrained", pretrained), *((f"fine-tuned, {p}", by_clip) for p, by_clip in found.items())):
        scored = scored_instances((clip.name, by_clip[clip.name]) for clip in clips)
        scores = mean_average_precision(clips, scored, "thumos14", INFDET_CLASSES)
        values = [*(scores.ap[label]["0.5"] for label in INFDET_CLASSES), scores.map["0.5"]]
        rows.append([name, *("–" if value is None else f"{value:.3f}" for value in values)])
    table(f"\nAP@0.5 on {len(clips)} held-out clips", ["network", *INFDET_CLASSES, "mAP"], rows)
    reference, reduced = found["float32"], found["float16"]
    changes = [compare_detections(reference[clip.name], reduced[clip.name]) for clip in clips]
    print(
        f"float16 compared with float32: {sum(c.missed for c in changes)} missed, {sum(c.extra for c in changes)} "
        f"extra, boundaries within {max(c.boundary_shift_s for c in changes):.2f} s"
    )

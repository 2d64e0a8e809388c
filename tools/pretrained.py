"""How the pretrained network was made, and how good it is.

`python -m tools.pretrained train FOLDER`: draw 960 clips of 20 kinds of cameras, train, and export `pretrained.infdet`;
on two AVX2 cores 25 minutes for the clips, 10 to prepare them and 40 to train. The installed network is the best
checkpoint after 2,250 of the 3,000 steps, with the thresholds drop 0.86, fight 0.5 and hug 0.94 (docs/results.md).

`python -m tools.pretrained judge [BUNDLE] [--clips 200] [--seeds 3001 3002 3003] [--out FILE]`: draw other clips from
seeds of scenes that nothing was chosen on, detect in them, and print AP@0.5 for each camera and false alarms an hour of
the clips without an action, as Markdown.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

import infdet_deploy as infdet
from infdet_deploy.console import progress
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.detections import Detection
from infdet_deploy.metrics.average_precision import mean_average_precision
from infdet_deploy.metrics.thresholds import scored_instances
from infdet_deploy.processes import in_processes
from infdet_deploy.synthetic.cameras import any_camera
from infdet_deploy.synthetic.dataset import CLASSES, QUIET, SynthesizeOptions, render_clip, synthesize
from infdet_deploy.video.writing import write_video

RATE = 12.5  # frames/s of the clips, the network's
TRAIN = SynthesizeOptions(clips=960, seed=1000, fps=RATE, test_share=0, quiet=True, varied=True)
STEPS = 3000


def train(folder: Path) -> None:
    """Make the pretrained network in `folder`."""
    data, run = folder / "data", folder / "run"
    if not data.is_dir():
        with progress("draw clips") as update:
            synthesize(data, TRAIN, update)
    settings = {"validate_every": 250, "save_every": 250}
    options = infdet.TrainOptions(preset="small", out=run, steps=STEPS, seed=0, settings=settings)
    with progress("train") as update:
        infdet.train(data, options, lambda p: update(p.step, p.steps, p.phase))
    export = infdet.ExportOptions(("float32",), formats=("onnx",))
    print(infdet.export(run, folder / "pretrained.infdet", export).path)


class Judged(NamedTuple):
    """A clip with its detections; camera, such as `side-near-80x60`."""

    clip: Clip
    camera: str
    found: Sequence[Detection]


def _judge(bundle: str, seed: int, index: int, options: SynthesizeOptions) -> Judged:
    rng = np.random.default_rng([seed, index])
    name, label, _ = options.clip(index)
    camera = name.split("_")[0]
    frames, annotations = render_clip(rng, label, options, any_camera(rng, camera))
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        write_video(video, frames, options.fps, crf="18", preset="veryfast")
        with infdet.Detector(bundle) as detector:
            found = detector.detect(video)
    actions = tuple(Instance(a["label"], *a["segment"]) for a in annotations)
    return Judged(Clip(f"{seed}/{name}", "testing", len(frames) / options.fps, actions), camera, found)


def judge(bundle: str, clips: int, seeds: Sequence[int]) -> str:
    """The tables as Markdown."""
    options = SynthesizeOptions(clips=clips, fps=RATE, quiet=True, varied=True)
    jobs = [(bundle, seed, index, options) for seed in seeds for index in range(clips)]
    judged: list[Judged] = []
    with progress("judge") as update:
        for _, one in in_processes(_judge, jobs):
            judged.append(one)
            update(len(judged), len(jobs))
    by_seed = [[one for one in judged if one.clip.name.startswith(f"{seed}/")] for seed in seeds]
    rows = [("all", by_seed)]
    for part, names in (("view", ("side", "above")), ("distance", ("near", "far"))):
        rows += [(f"{part} {n}", [[o for o in of if n in o.camera.split("-")] for of in by_seed]) for n in names]
    sensors = sorted({one.camera.split("-")[2] for one in judged}, key=lambda size: int(size.split("x")[0]))
    rows += [(f"{size} pixels", [[o for o in of if o.camera.endswith(size)] for of in by_seed]) for size in sensors]
    lines = [f"| clips | number | {' | '.join(CLASSES)} | mAP@0.5 | mAP@0.3 |", "|---" * (len(CLASSES) + 4) + "|"]
    for name, parts in rows:
        tables = [_precision(part) for part in parts]
        spread = f" ± {stdev(t[-2] for t in tables):.3f}" if name == "all" and len(tables) > 1 else ""
        values = [mean(column) for column in zip(*tables, strict=True)]
        cells = [f"{value:.3f}" for value in values]
        cells[-2] += spread
        lines.append(f"| {name} | {sum(map(len, parts))} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _false_alarms(judged)])


def _precision(judged: Sequence[Judged]) -> list[float]:
    """AP@0.5 of each class, mAP@0.5 and mAP@0.3."""
    scored = scored_instances((one.clip.name, one.found) for one in judged)
    scores = mean_average_precision([one.clip for one in judged], scored, "thumos14", CLASSES)
    return [*(scores.ap[label]["0.5"] or 0.0 for label in CLASSES), scores.map["0.5"], scores.map["0.3"]]


def _false_alarms(judged: Sequence[Judged]) -> str:
    quiet = [one for one in judged if QUIET in one.clip.name]
    hours = sum(one.clip.duration_s or 0.0 for one in quiet) / 3600
    alarms = [found.label for one in quiet for found in one.found]
    counts = ", ".join(f"{label} {alarms.count(label)}" for label in CLASSES)
    return f"False alarms without any action: {len(alarms) / hours:.1f} an hour ({counts} in {hours:.2f} h)."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("train").add_argument("folder", type=Path)
    judging = commands.add_parser("judge")
    judging.add_argument("bundle", nargs="?", default="pretrained")
    judging.add_argument("--clips", type=int, default=200)
    judging.add_argument("--seeds", type=int, nargs="+", default=[3001, 3002, 3003])
    judging.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "train":
        train(arguments.folder)
        return
    text = judge(arguments.bundle, arguments.clips, arguments.seeds)
    print(text)
    if arguments.out:
        arguments.out.write_text(f"{text}\n")


if __name__ == "__main__":
    main()

"""Training, and the synthetic data that it falls back on."""

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from infdet_deploy.console import progress, say
from infdet_deploy.errors import UsageError

RUNS = Path("runs")
CHUNK_SNIPPETS = 32  # of whole clips in training: as many features at once as when running
SYNTHETIC = Path("data/synthetic")
SYNTHETIC_CLIPS = 60
# A snippet then lasts 0.44 s, short enough for most drops (of 1.4 s; true labels as scores reach a mAP@0.5 of about
# 0.93, at 12.5 frames/s 0.81), and a minute of video costs a quarter less than at 25.
SYNTHETIC_FPS = 18.0


def train(
    data: Path | None,
    preset_name: str,
    out: Path | None,
    steps: int | None,
    seed: int,
    resume: bool,
    weights: Path | None = None,
    whole_clips: bool = False,
    variant: dict[str, Any] | None = None,
    freeze_towers: bool = False,
) -> dict[str, Any]:
    """Train, on a synthetic set where no data is given. Returns run, checkpoint, mAP and seconds, JSON-ready.

    weights: start from this checkpoint, of which all but the classes is taken instead of the preset's; what does not
    fit the network to train starts anew. whole_clips: clips at full length instead of windows. variant: fields of the
    model's configuration that were asked for; a single stream has no fusion unless one is named.
    """
    from infdet_deploy.config import read_json
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.model.presets import ModelConfig, preset
    from infdet_deploy.model.weights import load_network, with_config
    from infdet_deploy.training.checkpoint import RUN, newest_run
    from infdet_deploy.training.loop import Progress, TrainResult
    from infdet_deploy.training.loop import train as run_training
    from infdet_deploy.training.settings import TrainConfig

    config = TrainConfig(seed=seed, chunk_snippets=CHUNK_SNIPPETS if whole_clips else 0, freeze_towers=freeze_towers)
    config = config if steps is None else dataclasses.replace(config, steps=steps)
    start = None if weights is None else load_network(weights)[0]
    model = preset(preset_name) if start is None else start.config
    if resume and out is None:
        out = newest_run(RUNS)
    out = out or _next_run(preset_name)
    if data is None and resume:
        described = read_json(out / RUN, "run") if (out / RUN).is_file() else {}
        data = Path(described["data"]) if isinstance(described.get("data"), str) else None
    if data is None:
        data = SYNTHETIC
        make_synthetic(data)
    classes = open_dataset(data).classes
    variant = dict(variant or {})
    if variant.get("streams", model.streams) != "both" and model.streams == "both":
        variant.setdefault("fusion", "none")
    model = ModelConfig.from_json(model.to_json() | {"classes": list(classes), **variant})
    if start is not None and start.config != model:
        start, anew = with_config(start, model, seed)
        parts = sorted({".".join(name.split(".")[:2]) for name in anew})
        say(f"{weights} is another network; {', '.join(parts) or 'nothing'} starts anew")
    begin = f"from {weights}" if weights else f"preset {preset_name}"
    say(f"training {begin} on {data} into {out}: {config.steps} steps, classes {', '.join(classes)}")
    with progress("") as update:

        def show(p: Progress) -> None:
            losses = "" if p.loss is None else f"loss {p.loss:.3f} (actions {p.classification:.3f}, flow {p.flow:.3f})"
            update(p.step, p.steps, f"{p.phase} {losses}")
            tenth = p.phase == "train" and p.step * 10 // p.steps > (p.step - 1) * 10 // p.steps
            if tenth and p.validation is None and not sys.stderr.isatty():  # where no bar is drawn
                say(f"step {p.step}/{p.steps}: {losses}, {p.seconds_left:.0f} s left")
            if p.validation is not None:
                say(
                    f"step {p.step}/{p.steps}: validation loss {p.validation['loss']:.3f}, "
                    f"mAP@0.5 {p.validation['map']['0.5']:.3f}"
                )

        result: TrainResult = run_training(data, out, model, config, resume, show, start)
    return {
        "run": str(out),
        "checkpoint": str(result.best),
        "steps": result.steps,
        "validation_map_0.5": result.metrics["map"]["0.5"],
        "test_map_0.5": result.test["map"]["0.5"] if result.test else None,
        "thresholds": list(result.thresholds),
        "mean_duration_s": list(result.mean_duration_s),
        "seconds": result.seconds,
    }


def make_synthetic(data: Path) -> None:
    """Make the standard synthetic set, or use the one that is there; refuses what another version made."""
    from infdet_deploy.config import read_json
    from infdet_deploy.training.synthetic import VERSION

    if not data.is_dir():
        say(f"data: making {SYNTHETIC_CLIPS} synthetic clips in {data}")
        synthesise(data, SYNTHETIC_CLIPS, 0)
        return
    file = data / "annotations.json"
    content = read_json(file, "annotations") if file.is_file() else {}
    rates = {entry.get("fps") for entry in content.get("database", {}).values()}
    if content.get("version") != VERSION or rates != {SYNTHETIC_FPS}:
        raise UsageError(f"{data} was made by another version; remove it, or name your own data with --data")
    say(f"data: {data}, made earlier")


def synthesise(out: Path, clips: int, seed: int) -> None:
    """Make the synthetic data set, with progress; refuses a folder that exists."""
    from infdet_deploy.training.synthetic import synthesise as make

    if out.exists():
        raise UsageError(f"{out} exists; choose another folder or remove it")
    with progress("synthesise") as update:
        make(out, clips=clips, seed=seed, fps=SYNTHETIC_FPS, progress=update)


def _next_run(preset_name: str) -> Path:
    taken = [int(m[1]) for p in RUNS.glob(f"{preset_name}-*") if (m := re.fullmatch(rf"{preset_name}-(\d+)", p.name))]
    return RUNS / f"{preset_name}-{max(taken, default=0) + 1}"

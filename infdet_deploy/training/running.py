"""Training, and the synthetic data that it falls back on."""

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.console import progress, say
from infdet_deploy.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from infdet_deploy.model.network import InfDetNet
    from infdet_deploy.model.presets import ModelConfig
    from infdet_deploy.training.distributed import World
    from infdet_deploy.training.settings import TrainConfig

SYNTHETIC = Path("data/synthetic")
SYNTHETIC_CLIPS = 120


def train(
    data: Path | None,
    preset_name: str,
    out: Path | None,
    resume: bool,
    weights: Path | None,
    variant: dict[str, Any],
    chosen: dict[str, Any],
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train, on a synthetic set where no data is given. Returns run, checkpoint, figures and seconds, JSON-ready.

    weights: start from this checkpoint, of which all but the classes is taken instead of the preset's; what does not
    fit the network to train starts anew. variant, chosen: fields of the model's and the training's configuration
    that were asked for; the others are a resumed run's own, else the defaults.
    """
    from infdet_deploy.training.checkpoint import newest_run
    from infdet_deploy.training.distributed import joined
    from infdet_deploy.training.loop import Progress, TrainResult
    from infdet_deploy.training.loop import train as run_training
    from infdet_deploy.training.validation import headline

    if resume and out is None:
        out = newest_run()
    run = _run_file(out) if resume and out is not None else {}
    with joined(str((run.get("training", {}) | chosen).get("device", "cpu"))) as world:
        plan = arrange_run(data, preset_name, out, run, weights, variant, chosen, world)
        begin = f"from {weights}" if weights else f"preset {preset_name}"
        if world.leads:
            say(
                f"training {begin} on {plan.data} into {plan.out}: {plan.config.steps} steps, classes "
                f"{', '.join(plan.model.classes)}"
            )
        if weights is None and plan.config.freeze_towers and not resume and world.leads:
            say("the towers are random and stay so; --freeze-towers is for towers that --weights brings")
        with progress("", world.leads) as update:

            def show(p: Progress) -> None:
                losses = ""
                if p.loss is not None:
                    losses = f"loss {p.loss:.3f} (actions {p.classification:.3f}, flow {p.flow:.3f})"
                update(p.step, p.steps, f"{p.phase} {losses}")
                tenth = p.phase == "train" and p.step * 10 // p.steps > (p.step - 1) * 10 // p.steps
                if tenth and p.validation is None and not sys.stderr.isatty():  # where no bar is drawn
                    say(f"step {p.step}/{p.steps}: {losses}, {p.seconds_left:.0f} s left")
                if p.validation is not None:
                    name, value = headline(p.validation)
                    say(f"step {p.step}/{p.steps}: validation loss {p.validation['loss']:.3f}, {name} {value:.3f}")

            result: TrainResult = run_training(
                plan.data, plan.out, plan.model, plan.config, resume, show, plan.initial, tensorboard
            )
    figure, value = headline(result.metrics)
    return {
        "leads": world.leads,
        "run": str(plan.out),
        "checkpoint": str(result.best),
        "steps": result.steps,
        "figure": figure,
        "validation": value,
        "test": headline(result.test)[1] if result.test else None,
        "thresholds": list(result.thresholds),
        "mean_duration_s": list(result.mean_duration_s),
        "seconds": result.seconds,
    }


def dry_run(
    data: Path | None,
    preset_name: str,
    weights: Path | None,
    variant: dict[str, Any],
    chosen: dict[str, Any],
) -> dict[str, Any]:
    """What `train` would do, measured without writing anything; see `training.plan`. Arguments as for `train`."""
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.training.distributed import joined
    from infdet_deploy.training.plan import plan

    if data is None and not SYNTHETIC.is_dir():
        raise UsageError(
            f"--dry-run makes no data and {SYNTHETIC} is not there; run `infdet-deploy dataset synth {SYNTHETIC}` "
            "first, or name your own data with --data"
        )
    with joined(str(chosen.get("device", "cpu"))) as world:
        run = arrange_run(data or SYNTHETIC, preset_name, None, {}, weights, variant, chosen, world)
        return {"leads": world.leads, **plan(open_dataset(run.data), run.model, run.config, run.initial, world)}


def _run_file(out: Path) -> dict[str, Any]:
    """A run's description, empty where it has none. Raises ConfigError for a damaged one."""
    from infdet_deploy.config import read_json
    from infdet_deploy.training.checkpoint import RUN

    run = read_json(out / RUN, "run") if (out / RUN).is_file() else {}
    if not isinstance(run, dict) or not isinstance(run.get("training", {}), dict):
        raise ConfigError(f"{out / RUN} is damaged: it does not describe a run")
    return run


@dataclasses.dataclass(frozen=True)
class Arranged:
    """Everything that a call of `train` needs."""

    data: Path
    out: Path
    model: "ModelConfig"
    config: "TrainConfig"
    initial: "InfDetNet | None"


def arrange_run(
    data: Path | None,
    preset_name: str,
    out: Path | None,
    run: dict[str, Any],
    weights: Path | None,
    variant: dict[str, Any],
    chosen: dict[str, Any],
    world: "World",
) -> Arranged:
    """What arguments left out become; arguments as for `train`. Of several processes the first decides.

    run: the description of the run to resume, else empty.
    """
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.model.presets import ModelConfig, preset
    from infdet_deploy.model.weights import load_network, with_config
    from infdet_deploy.training.checkpoint import RUN
    from infdet_deploy.training.settings import TrainConfig

    out = Path(world.agree(str(out or _next_run(preset_name))))
    config = TrainConfig.from_json(run.get("training", {}) | chosen)
    start = None if weights is None else load_network(weights)[0]
    model = preset(preset_name) if start is None else start.config
    model = ModelConfig.from_json(run["model"], f"{out / RUN}: model") if "model" in run else model
    if data is None and isinstance(run.get("data"), str):
        data = Path(run["data"])
    if data is None:
        data = SYNTHETIC
        with world.leader_first():
            if world.leads:
                make_synthetic(data)
    classes = open_dataset(data).classes
    if variant.get("streams", model.streams) != "both" and model.streams == "both":
        variant = {"fusion": "none", **variant}
    model = ModelConfig.from_json(model.to_json() | {"classes": list(classes), **variant})
    if start is not None and start.config != model:
        start, anew = with_config(start, model, config.seed)
        parts = sorted({".".join(name.split(".")[:2]) for name in anew})
        if world.leads:
            say(f"{weights} is another network; {', '.join(parts) or 'nothing'} starts anew")
    return Arranged(data, out, model, config, start)


def settings(
    steps: int | None, seed: int | None, whole_clips: bool, freeze_towers: bool, pairs: Sequence[str]
) -> dict[str, Any]:
    """Fields of the training's configuration that were asked for.

    pairs: `NAME=VALUE`, values in JSON or plain text. Raises UsageError for another form.
    """
    from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS

    asked = {
        "steps": steps,
        "seed": seed,
        "chunk_snippets": CHUNK_SNIPPETS if whole_clips else None,
        "freeze_towers": freeze_towers or None,
    }
    found: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--set is '{pair}', expected NAME=VALUE, such as learning_rate=3e-4")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def make_synthetic(data: Path) -> None:
    """Make the standard synthetic set, or use the one that is there; refuses what another version made."""
    from infdet_deploy.config import read_json
    from infdet_deploy.synthetic.dataset import FPS, VERSION

    if not data.is_dir():
        say(f"data: making {SYNTHETIC_CLIPS} synthetic clips in {data}")
        synthesise(data, SYNTHETIC_CLIPS, 0)
        return
    file = data / "annotations.json"
    content = read_json(file, "annotations") if file.is_file() else {}
    rates = {entry.get("fps") for entry in content.get("database", {}).values()}
    if content.get("version") != VERSION or rates != {FPS}:
        raise UsageError(f"{data} was made by another version; remove it, or name your own data with --data")
    say(f"data: {data}, made earlier")


def synthesise(out: Path, clips: int, seed: int) -> None:
    """Make the synthetic data set, with progress; refuses a folder that exists."""
    from infdet_deploy.synthetic.dataset import synthesise as make

    if out.exists():
        raise UsageError(f"{out} exists; choose another folder or remove it")
    with progress("synthesise") as update:
        make(out, clips=clips, seed=seed, progress=update)


def _next_run(preset_name: str) -> Path:
    from infdet_deploy.training.checkpoint import RUNS

    taken = [int(m[1]) for p in RUNS.glob(f"{preset_name}-*") if (m := re.fullmatch(rf"{preset_name}-(\d+)", p.name))]
    return RUNS / f"{preset_name}-{max(taken, default=0) + 1}"

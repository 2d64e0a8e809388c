"""`train` and `plan_training`; without data they use synthetic clips."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from infdet_deploy.config import read_json
from infdet_deploy.datasets import open_dataset
from infdet_deploy.errors import UsageError
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig, preset, preset_like
from infdet_deploy.model.weights import with_config
from infdet_deploy.synthetic.dataset import FPS, VERSION, SynthesizeOptions, synthesize
from infdet_deploy.training.checkpoint import starting_network
from infdet_deploy.training.distributed import process_group
from infdet_deploy.training.interrupts import sigterm_as_interrupt
from infdet_deploy.training.loop import OnProgress, Progress, TrainResult, run_training
from infdet_deploy.training.options import TrainConfig, TrainOptions
from infdet_deploy.training.plan import TrainingPlan, measure_plan
from infdet_deploy.training.run_folder import RUN, newest_run, next_run, read_run

SYNTHETIC = Path("data/synthetic")
SYNTHETIC_CLIPS = 120


def train(
    data: Path | str | None = None, options: TrainOptions | None = None, on_progress: OnProgress | None = None
) -> TrainResult:
    """Train on the data set `data`; without one on synthetic clips in `data/synthetic`, made if necessary.

    The result equals that of an uninterrupted run if the training is interrupted and resumed. Under torchrun every
    process calls this with the same arguments; the main process writes and reports.

    Raises UsageError for `resume` without a run there, Interrupted (with the state saved) after Ctrl-C or SIGTERM
    during training, and errors of `run_training`.
    """
    options = options or TrainOptions()
    out = newest_run() if options.resume and options.out is None else options.out
    run = read_run(out) if options.resume and out is not None else {}
    initial = starting_network(options.weights)
    like = options.preset if initial is None else preset_like(initial.config)
    config = TrainConfig.from_json(run.get("training", {}) | options.changes(like))
    with sigterm_as_interrupt(), process_group(config.device) as world:
        report = on_progress if on_progress is not None and world.is_main else lambda progress: None
        out = Path(world.broadcast(str(out or next_run(options.preset))))
        data = run["data"] if data is None and "data" in run else data
        if data is None:
            data = SYNTHETIC
            with world.main_first():
                if world.is_main:
                    make_synthetic(data, report)
        model, network, notes = _starting_point(Path(data), options, config, initial, run, out)
        if not options.resume:
            config = _with_steps(Path(data), options, config, like)
        begin = f"preset {options.preset}" if options.weights is None else f"from {options.weights}"
        if options.resume:
            begin = "a resumed run"
        what = f"{config.steps} steps, classes {', '.join(model.classes)}"
        for note in (f"training {begin} on {data} into {out}: {what}", *notes):
            report(Progress("prepare", note=note))
        return run_training(
            Path(data), out, model, config, resume=options.resume, on_progress=report, initial=network,
            tensorboard=options.tensorboard,
        )  # fmt: skip


def plan_training(
    data: Path | str | None = None, options: TrainOptions | None = None, on_progress: OnProgress | None = None
) -> TrainingPlan:
    """Report what `train` would do, its time and its memory, without writing anything.

    Raises UsageError if there is neither `data` nor the synthetic data set of an earlier training; errors of `train`.
    """
    options = options or TrainOptions()
    if options.resume:
        raise UsageError("--dry-run and --resume exclude each other: a resumed run continues as it began")
    if data is None and not SYNTHETIC.is_dir():
        raise UsageError(
            f"--dry-run makes no data and {SYNTHETIC} does not exist; run `infdet-deploy dataset synth {SYNTHETIC}` "
            "first, or name your own data with --data"
        )
    initial = starting_network(options.weights)
    like = options.preset if initial is None else preset_like(initial.config)
    config = TrainConfig.from_json(options.changes(like))
    with process_group(config.device) as world:
        model, network, _ = _starting_point(Path(data or SYNTHETIC), options, config, initial, {}, Path())
        config = _with_steps(Path(data or SYNTHETIC), options, config, like)
        report = on_progress if on_progress is not None and world.is_main else lambda progress: None
        return measure_plan(open_dataset(data or SYNTHETIC), model, config, network, world, report)


def _with_steps(data: Path, options: TrainOptions, config: TrainConfig, like: str) -> TrainConfig:
    """The configuration with steps by the number of actions, and an early stop where the user set neither."""
    clips = open_dataset(data).subset(config.train_subset)
    steps = options.steps_for(sum(max(len(clip.instances), 1) for clip in clips), config, like)
    if steps == config.steps:
        return config
    chosen = {"steps": steps, "validate_every": max(config.validate_every, steps // 8), "patience": 5}
    return replace(config, **chosen | {name: getattr(config, name) for name in chosen if name in options.settings})


def _starting_point(
    data: Path,
    options: TrainOptions,
    config: TrainConfig,
    network: InfDetNet | None,
    run: dict[str, Any],
    out: Path,
) -> tuple[ModelConfig, InfDetNet | None, list[str]]:
    """The network to train, as configuration and weights (None if they are random), and notes for the user.

    network: of `options.weights`.
    """
    model = preset(options.preset) if network is None else network.config
    if run:
        model = ModelConfig.from_json(run["model"], f"{out / RUN}: model")
    classes = list(open_dataset(data).classes)
    model = options.change_model(ModelConfig.from_json(model.to_json() | {"classes": classes}))
    notes = []
    if network is not None and network.config != model:
        new = [label for label in classes if label not in network.config.classes]
        network, random = with_config(network, model, config.seed)
        parts = {".".join(name.split(".")[:2]) for name in random if not (new and name.startswith("classifier."))}
        parts |= {f"class {label}" for label in new}
        if parts:
            notes.append(f"not in {options.weights}, starts from random values: {', '.join(sorted(parts))}")
    if options.weights is None and config.freeze_towers and not run:
        notes.append("the towers stay random: --freeze-towers is for towers from --weights")
    return model, network, notes


def make_synthetic(data: Path, on_progress: OnProgress) -> None:
    """Make the default synthetic data set, or check the existing one. Raises UsageError for another version's."""
    if not data.is_dir():
        on_progress(Progress("synthesize", note=f"data: making {SYNTHETIC_CLIPS} synthetic clips in {data}"))
        options = SynthesizeOptions(clips=SYNTHETIC_CLIPS)
        synthesize(data, options, lambda done, total: on_progress(Progress("synthesize", done, total)))
        return
    file = data / "annotations.json"
    content = read_json(file, "annotations") if file.is_file() else {}
    rates = {entry.get("fps") for entry in content.get("database", {}).values()}
    if content.get("version") != VERSION or rates != {FPS}:
        raise UsageError(f"{data} was made by another version; remove it, or name your own data with --data")
    on_progress(Progress("synthesize", note=f"data: {data}, made earlier"))

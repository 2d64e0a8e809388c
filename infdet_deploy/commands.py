"""What the commands do when arguments are left out, and the calls behind them; `cli` parses and prints."""

import dataclasses
import multiprocessing
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.console import progress, say
from infdet_deploy.errors import InfdetError, UsageError, one_line

if TYPE_CHECKING:
    from infdet_deploy.runtime.bundle import Bundle

RUNS = Path("runs")
SYNTHETIC = Path("data/synthetic")
SYNTHETIC_CLIPS = 60
# A snippet then lasts 0.44 s, short enough for most drops (of 1.4 s; true labels as scores reach a mAP@0.5 of about
# 0.93, at 12.5 frames/s 0.81), and a minute of video costs a third less than at 25.
SYNTHETIC_FPS = 18.0


def train(
    data: Path | None, preset_name: str, out: Path | None, steps: int | None, seed: int, resume: bool
) -> dict[str, Any]:
    """Train, on a synthetic set where no data is given. Returns run, checkpoint, mAP and seconds, JSON-ready."""
    from infdet_deploy.config import read_json
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.model.presets import preset
    from infdet_deploy.training.loop import Progress, TrainResult
    from infdet_deploy.training.loop import train as run_training
    from infdet_deploy.training.settings import TrainConfig

    model = preset(preset_name)
    config = TrainConfig(seed=seed) if steps is None else TrainConfig(steps=steps, seed=seed)
    if resume and out is None:
        from infdet_deploy.training.checkpoint import newest_run

        out = newest_run(RUNS)
    out = out or _next_run(preset_name)
    if data is None and resume:
        described = read_json(out / "run.json", "run") if (out / "run.json").is_file() else {}
        data = Path(described["data"]) if isinstance(described.get("data"), str) else None
    if data is None:
        data = SYNTHETIC
        make_synthetic(data)
    classes = open_dataset(data).classes
    model = dataclasses.replace(model, classes=classes)
    say(f"training preset {preset_name} on {data} into {out}: {config.steps} steps, classes {', '.join(classes)}")
    with progress("") as update:

        def show(p: Progress) -> None:
            losses = "" if p.loss is None else f"loss {p.loss:.3f} (actions {p.classification:.3f}, flow {p.flow:.3f})"
            update(p.step, p.steps, f"{p.phase} {losses}")
            if p.validation is not None:
                say(
                    f"step {p.step}/{p.steps}: validation loss {p.validation['loss']:.3f}, "
                    f"mAP@0.5 {p.validation['map']['0.5']:.3f}"
                )

        result: TrainResult = run_training(data, out, model, config, resume, show)
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


def _next_run(preset_name: str) -> Path:
    taken = [int(m[1]) for p in RUNS.glob(f"{preset_name}-*") if (m := re.fullmatch(rf"{preset_name}-(\d+)", p.name))]
    return RUNS / f"{preset_name}-{max(taken, default=0) + 1}"


def synthesise(out: Path, clips: int, seed: int) -> None:
    """Make the synthetic data set, with progress; refuses a folder that exists."""
    from infdet_deploy.training.synthetic import synthesise as make

    if out.exists():
        raise UsageError(f"{out} exists; choose another folder or remove it")
    with progress("synthesise") as update:
        make(out, clips=clips, seed=seed, fps=SYNTHETIC_FPS, progress=update)


def check_dataset(data: Path, classes: str | None, fps: float | None, picture: Path | None) -> dict[str, Any]:
    """The report of `datasets.check`, and a picture of it where asked for."""
    from infdet_deploy.datasets.check import check_dataset as check

    with progress("decode") as update:
        dataset, report = check(data, fps, _names(classes), update)
    if picture is not None:
        from infdet_deploy.datasets.picture import draw_dataset

        draw_dataset(picture, dataset)
    return report


def convert_dataset(data: Path, out: Path, form: str, classes: str | None, fps: float | None) -> tuple[int, list[str]]:
    """Convert; the number of clips written, and what the format cannot hold."""
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.datasets.convert import FORMATS, convert

    if form not in FORMATS:
        raise UsageError(f"--to is '{form}', expected one of {', '.join(FORMATS)}")
    if out.exists():
        raise UsageError(f"{out} exists; choose another name or remove it")
    dataset = open_dataset(data, fps, _names(classes))
    return len(dataset.clips), convert(dataset, out, form, fps)


def prepare_dataset(data: Path, preset_name: str, workers: int | None) -> tuple[int, int, int]:
    """Fill the cache; clips made now, clips that were ready, bytes in the cache."""
    from infdet_deploy.model.presets import preset
    from infdet_deploy.training.prepare import CACHE, prepare

    with progress("prepare") as update:
        made, there = prepare(data, preset(preset_name), update, workers)
    return made, there, sum(file.stat().st_size for file in (data / CACHE).glob("*.npz"))


def _names(classes: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in classes.split(",")) if classes else None


def export(run: Path | None, out: Path | None, fp16: bool) -> "Bundle":
    """Export a run (the newest where none is named) and give the bundle back, checked."""
    from infdet_deploy.export.bundle import export_bundle
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.runtime.bundle import load_bundle
    from infdet_deploy.runtime.detections import default_rule
    from infdet_deploy.training.checkpoint import BEST, newest_run

    if run is None:
        run = newest_run(RUNS)
        say(f"exporting the newest run, {run}")
    if run.is_dir() and not (run / BEST).is_file():
        raise InfdetError(f"{run} holds no {BEST}: is it a run folder, and has it been trained?")
    checkpoint = run / BEST if run.is_dir() else run
    network, extra = load_network(checkpoint)
    out = out or Path(f"{run.resolve().name if run.is_dir() else run.stem}.infdet")
    if out.suffix != ".infdet":
        raise UsageError(f"--out is {out}; a bundle is called NAME.infdet")
    rule = default_rule(network.config.classes)
    thresholds, means_s = extra.get("thresholds", rule.thresholds), extra.get("mean_duration_s", rule.mean_duration_s)
    rule = dataclasses.replace(rule, thresholds=tuple(thresholds), mean_duration_s=tuple(means_s))
    precisions = ("float32", "float16") if fp16 else ("float32",)
    with progress("export") as update:
        export_bundle(
            network, out, rule, precisions, frame_mode=extra.get("frame_mode", "resize"), source=run.name,
            on_progress=update,
        )  # fmt: skip
    return load_bundle(out)


def detect(
    bundle: Path, videos: list[Path], backend: str, precision: str, fps: float | None, picture: Path | None
) -> list[dict[str, Any]]:
    """Detections of every recording, JSON-ready."""
    from infdet_deploy.runtime.pipeline import Detector

    results = []
    with Detector(bundle, backend, precision) as detector, progress("detect") as update:
        for index, path in enumerate(videos):
            update(index, len(videos), path.name)
            video = detector.read(path, fps)
            scores = detector.scores(video.frames)
            found = detector.detections(scores, len(video.frames), video.fps)
            result = {
                "video": video.name,
                "path": str(path),
                "frames": len(video.frames),
                "fps": video.fps,
                "duration_s": video.duration_s,
                "highest_score": float(scores.max()),
                "detections": [dataclasses.asdict(d) for d in found],
            }
            if picture is not None:
                from infdet_deploy.picture import draw_clip

                classes, thresholds = detector.bundle.classes, detector.bundle.rule.thresholds
                file = draw_clip(picture / f"{video.name}.png", video, scores, classes, thresholds, found)
                result["picture"] = str(file)
            results.append(result)
    return results


def bench(
    bundle: Path | None, preset_name: str | None, frames: int, runs: int, backends: str, precisions: str
) -> dict[str, Any]:
    """Measure a bundle: the one named, a preset's with random weights, the newest here, or the paper-size network."""
    from infdet_deploy.benchmarks.latency import contenders, measure
    from infdet_deploy.runtime.bundle import load_bundle

    if bundle is not None and preset_name is not None:
        raise UsageError("give either a bundle or --preset, not both")
    if bundle is None and preset_name is None:
        here = sorted(Path.cwd().glob("*.infdet"), key=lambda p: p.stat().st_mtime_ns)
        bundle = here[-1].relative_to(Path.cwd()) if here else None
        say(f"measuring {bundle}, the newest bundle here" if bundle else "no bundle here")
    loaded = load_bundle(bundle) if bundle is not None else random_bundle(preset_name or "infdet")
    entries = contenders(loaded, backends, precisions)
    with progress("bench") as update:
        return measure(loaded, entries, frames, runs, update)


def random_bundle(preset_name: str) -> "Bundle":
    """A preset's network with seeded random weights as a bundle, exported once into the user's cache."""
    from infdet_deploy.model.presets import preset
    from infdet_deploy.runtime.bundle import load_bundle

    preset(preset_name)
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infdet-deploy"
    path = root / f"{preset_name}-random-1.infdet"
    if path.is_dir():
        try:
            bundle = load_bundle(path)
            say(f"measuring the network of preset {preset_name} with seeded random weights, from {path}")
            return bundle
        except InfdetError as error:
            say(f"exporting again: {error}")
    say(f"exporting the network of preset {preset_name} with seeded random weights, once, into {path}")
    # In a process of its own, so that the memory that export takes is not counted as the runtime's.
    worker = multiprocessing.get_context("spawn").Process(target=_export_random, args=(preset_name, path))
    worker.start()
    worker.join()
    if worker.exitcode:
        raise InfdetError(f"could not export preset {preset_name} into {path}; the lines above say why")
    return load_bundle(path)


def _export_random(preset_name: str, path: Path) -> None:
    try:
        from infdet_deploy.export.bundle import export_bundle
        from infdet_deploy.model.presets import preset
        from infdet_deploy.model.weights import random_network

        with progress("export") as update:
            export_bundle(
                random_network(preset(preset_name)), path, precisions=("float32",), formats=("onnx",),
                source="seeded random weights", include_weights=False, on_progress=update,
            )  # fmt: skip
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        say(f"infdet-deploy: {line}")
        sys.exit(1)


def evaluate(detections: Path, annotations: Path, protocol: str, subset: str | None) -> dict[str, Any]:
    """mAP of a detection file against annotations."""
    from infdet_deploy import metrics
    from infdet_deploy.annotations import read_annotations, read_class_ids, read_detections

    if protocol not in ("thumos14", "activitynet"):
        raise UsageError(f"--protocol is '{protocol}', expected thumos14 or activitynet")
    clips = read_annotations(annotations, subset)
    ids = read_class_ids(annotations) if annotations.is_dir() else None
    return metrics.evaluate(clips, read_detections(detections, ids), protocol)  # type: ignore[arg-type]


def import_weights(checkpoint: Path, out: Path, classes: str | None, tower: str | None, into: Path | None) -> Any:
    """Write a foreign checkpoint as ours; returns the report."""
    from infdet_deploy.model.presets import ModelConfig, preset
    from infdet_deploy.model.weights import (
        import_upstream,
        load_kinetics,
        load_network,
        random_network,
        read_state_dict,
        save_network,
    )

    if out.suffix != ".safetensors":
        raise UsageError(f"--out is {out}; weights are written as NAME.safetensors")
    if tower not in (None, "infrared", "flow"):
        raise UsageError(f"--tower is '{tower}', expected infrared or flow")
    state = read_state_dict(checkpoint)
    names = _names(classes)
    if tower is None:
        if "Conv3d_1a_7x7.conv3d.weight" in state:
            raise UsageError(f"{checkpoint} is one I3D tower; say which with --tower infrared or --tower flow")
        network, report = import_upstream(state, names)
        save_network(out, network, network.config, {"source": checkpoint.name})
        return report
    extra: dict[str, Any] = {"source": checkpoint.name}
    if into is not None:
        network, extra = load_network(into)
    else:
        channels = state["Conv3d_1a_7x7.conv3d.weight"].shape[1] if "Conv3d_1a_7x7.conv3d.weight" in state else 3
        config: ModelConfig = preset("infdet")
        config = dataclasses.replace(
            config, classes=names or config.classes, flow_channels=channels if tower == "flow" else config.flow_channels
        )
        network = random_network(config)
    report = load_kinetics(network.flow_tower if tower == "flow" else network.infrared_tower, state)
    save_network(out, network, network.config, extra)
    return report


def complexity(preset_name: str, frames: int) -> dict[str, Any]:
    """Parameters and multiply-adds of a preset beside the published figures."""
    from infdet_deploy.model.complexity import count, sca_per_snippet
    from infdet_deploy.model.presets import preset
    from infdet_deploy.snippets import MIN_FRAMES

    if frames < MIN_FRAMES:
        raise UsageError(f"--frames is {frames}; a clip needs at least {MIN_FRAMES}")
    config = preset(preset_name)
    rows = [dataclasses.asdict(row) for row in count(config, frames)]
    projected = count(dataclasses.replace(config, fen_projection=True), frames)[0].parameters
    published = {
        "fen": "3,345,091 parameters, 25.3 G; the paper: 3.41 M",
        "infrared_tower": "173.8 G",
        "flow_tower": "173.8 G",
        "sca": "1.53 G; the paper: 135 M per 8 frames",
        "classifier": "0.02 G",
    }
    per_snippet = sca_per_snippet(config)
    for row in rows:
        row["published"] = published[row["name"]] if preset_name == "infdet" else ""
    notes = (
        f"Published in all: 374.4 G. With the projection in layer4 the FEN has {projected:,} parameters (paper: "
        f"3,410,627). SCA takes {per_snippet / 1e6:.1f} M for one snippet of 8 frames."
    )
    return {
        "preset": preset_name,
        "frames": frames,
        "stages": rows,
        "parameters": sum(row["parameters"] for row in rows),
        "multiply_adds": sum(row["multiply_adds"] for row in rows),
        "fen_parameters_with_projection": projected,
        "sca_multiply_adds_per_snippet": per_snippet,
        "notes": notes,
    }

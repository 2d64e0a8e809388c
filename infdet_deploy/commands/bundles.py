"""From a checkpoint to a bundle, and what is done with bundles."""

import dataclasses
import multiprocessing
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.commands.training import RUNS
from infdet_deploy.console import progress, say
from infdet_deploy.errors import InfdetError, UsageError, VideoError, missing_package, one_line

if TYPE_CHECKING:
    from infdet_deploy.runtime.bundle import Bundle
    from infdet_deploy.video import Video

FPS_FACTOR = 1.5  # a recording's frame rate may differ by this factor from the training clips' without a note


def export(
    run: Path | None,
    out: Path | None,
    precisions: tuple[str, ...],
    joined: bool = False,
    conv2d: bool = False,
    calibrate: Path | None = None,
    max_map_drop: float | None = None,
) -> "Bundle":
    """Export a run (the newest where none is named) in float32 and `precisions`, and give the bundle back, checked.

    calibrate: the recordings for int8 and for float16's ranges; max_map_drop: points of mAP@0.5 that int8 may lose
    there, 1 by default.
    """
    from infdet_deploy.runtime.backends.base import available

    if "int8" in precisions and calibrate is None:
        raise UsageError(
            "--int8 needs --calibrate DIR: a data set, or a folder of recordings like those that it will run on"
        )
    if "int8" in precisions and not available("onnxruntime"):
        raise missing_package("onnxruntime", "onnxruntime", "--int8")
    if max_map_drop is not None and "int8" not in precisions:
        raise UsageError("--max-map-drop is for --int8; add it, or leave --max-map-drop out")
    if calibrate is not None and not {"int8", "float16"} & set(precisions):
        raise UsageError("--calibrate is for --int8 and --fp16; add one, or leave --calibrate out")
    from infdet_deploy.export.bundle import export_bundle
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.runtime.bundle import load_bundle
    from infdet_deploy.training.checkpoint import checkpoint_file, newest_run, saved_rule

    if run is None:
        run = newest_run(RUNS)
        say(f"exporting the newest run, {run}")
    network, extra = load_network(checkpoint_file(run))
    out = out or Path(f"{run.resolve().name if run.is_dir() else run.stem}.infdet")
    if out.suffix != ".infdet":
        raise UsageError(f"--out is {out}; a bundle is called NAME.infdet")
    rule = saved_rule(extra, network.config.classes)
    mode, clips = extra.get("frame_mode", "resize"), None
    if calibrate is not None:
        from infdet_deploy.export.calibration import read_calibration

        clips = read_calibration(calibrate, network.config.size, mode, network.config.classes)
    with progress("export") as update:
        export_bundle(
            network, out, rule, ("float32", *precisions), frame_mode=mode, source=run.name, joined=joined,
            conv2d=conv2d, calibration=clips, max_map_drop=1.0 if max_map_drop is None else max_map_drop,
            fps=extra.get("fps"), on_progress=update,
        )  # fmt: skip
    return load_bundle(out)


def detect(
    bundle: Path, videos: list[Path], backend: str, precision: str, fps: float | None, picture: Path | None
) -> list[dict[str, Any]]:
    """Detections of every recording, JSON-ready; a recording that cannot be read has an `error` instead."""
    from infdet_deploy.runtime.pipeline import Detector

    results: list[dict[str, Any]] = []
    with Detector(bundle, backend, precision) as detector, progress("detect") as update:
        for index, path in enumerate(videos):
            update(index, len(videos), path.name)
            try:
                video = detector.read(path, fps)
            except VideoError as error:
                results.append({"video": path.stem, "path": str(path), "error": str(error)})
                continue
            _compare_rates(video, detector.bundle.fps)
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


def _compare_rates(video: "Video", trained: float | None) -> None:
    """A note where motion looks much faster or slower than what the network was trained on."""
    if trained is not None and not 1 / FPS_FACTOR <= video.fps / trained <= FPS_FACTOR:
        say(
            f"{video.name}: {video.fps:g} frames/s, but the network was trained at {trained:g}: expect worse "
            "detections; record at that rate, or give the right one with --fps"
        )


def bench(
    bundle: Path | None, preset_name: str | None, frames: int, runs: int, backends: str, precisions: str
) -> dict[str, Any]:
    """Measure a bundle: the one named, a preset's with random weights, the newest here, or the paper-size network."""
    from infdet_deploy.benchmarks.latency import contenders, measure
    from infdet_deploy.runtime.bundle import load_bundle

    if bundle is not None and preset_name is not None:
        raise UsageError("give either a bundle or --preset, not both")
    if bundle is None and preset_name is None:
        bundle = newest_bundle()
        say(f"measuring {bundle}, the newest bundle here" if bundle else "no bundle here")
    loaded = load_bundle(bundle) if bundle is not None else random_bundle(preset_name or "infdet")
    entries = contenders(loaded, backends, precisions)
    with progress("bench") as update:
        return measure(loaded, entries, frames, runs, update)


def newest_bundle() -> Path | None:
    """The bundle in this folder that was written last, None where there is none."""
    here = sorted(Path.cwd().glob("*.infdet"), key=lambda path: path.stat().st_mtime_ns)
    return here[-1].relative_to(Path.cwd()) if here else None


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

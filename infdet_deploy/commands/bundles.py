"""From a checkpoint to a bundle, and what is done with bundles."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.commands.training import RUNS
from infdet_deploy.console import progress, say
from infdet_deploy.errors import UsageError, VideoError, missing_package

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
    stream: bool = False,
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
            conv2d=conv2d, stream=stream, calibration=clips, max_map_drop=1.0 if max_map_drop is None else max_map_drop,
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


def newest_bundle() -> Path | None:
    """The bundle in this folder that was written last, None where there is none."""
    here = sorted(Path.cwd().glob("*.infdet"), key=lambda path: path.stat().st_mtime_ns)
    return here[-1].relative_to(Path.cwd()) if here else None

"""From a checkpoint to a bundle, and what is done with bundles."""

from pathlib import Path
from typing import TYPE_CHECKING

from infdet_deploy.console import progress, say
from infdet_deploy.errors import UsageError, missing_package

if TYPE_CHECKING:
    from infdet_deploy.bundle.loading import Bundle


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
    from infdet_deploy.runtime.backends.registry import is_available

    if "int8" in precisions and calibrate is None:
        raise UsageError(
            "--int8 needs --calibrate DIR: a data set, or a folder of recordings like those that it will run on"
        )
    if "int8" in precisions and not is_available("onnxruntime"):
        raise missing_package("onnxruntime", "onnxruntime", "--int8")
    if max_map_drop is not None and "int8" not in precisions:
        raise UsageError("--max-map-drop is for --int8; add it, or leave --max-map-drop out")
    if calibrate is not None and not {"int8", "float16"} & set(precisions):
        raise UsageError("--calibrate is for --int8 and --fp16; add one, or leave --calibrate out")
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.exporting.bundle import check_int8, export_bundle
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.training.checkpoint import checkpoint_file, newest_run, saved_rule

    if "int8" in precisions:
        check_int8()  # before the recordings are read
    if run is None:
        run = newest_run()
        say(f"exporting the newest run, {run}")
    network, extra = load_network(checkpoint_file(run))
    out = out or Path(f"{run.resolve().name if run.is_dir() else run.stem}.infdet")
    if out.suffix != ".infdet":
        raise UsageError(f"--out is {out}; a bundle is called NAME.infdet")
    rule = saved_rule(extra, network.config.classes)
    mode, clips = extra.get("frame_mode", "resize"), None
    if calibrate is not None:
        from infdet_deploy.exporting.calibration import read_calibration

        clips = read_calibration(calibrate, network.config.size, mode, network.config.classes)
    with progress("export") as update:
        export_bundle(
            network, out, rule, ("float32", *precisions), frame_mode=mode, source=run.name, joined=joined,
            conv2d=conv2d, stream=stream, calibration=clips, max_map_drop=1.0 if max_map_drop is None else max_map_drop,
            fps=extra.get("fps"), on_progress=update,
        )  # fmt: skip
    return load_bundle(out)


def newest_bundle() -> Path | None:
    """The bundle in this folder that was written last, None where there is none."""
    here = sorted(Path.cwd().glob("*.infdet"), key=lambda path: path.stat().st_mtime_ns)
    return here[-1].relative_to(Path.cwd()) if here else None

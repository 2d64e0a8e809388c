"""`export`: a training run as a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, read_manifest
from infdet_deploy.bundle.pretrained import bundle_folder, refuse_pretrained
from infdet_deploy.console import say
from infdet_deploy.errors import UsageError, missing_package
from infdet_deploy.exporting.int8.accuracy import AccuracyCheck
from infdet_deploy.exporting.options import ExportOptions, OnProgress, Origin
from infdet_deploy.runtime.backends.registry import is_available
from infdet_deploy.training.run_folder import checkpoint_file, newest_run


@dataclass(frozen=True)
class ExportedStage:
    """The checks of one stage in one precision.

    errors: format → the largest relative L2 from the network over the check clips. operators: format → precision →
    number of convolutions and matrix products that compute in it. `openvino` is the format of OpenVINO's int8 file.
    """

    stage: str
    precision: str
    errors: Mapping[str, float]
    operators: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class ExportResult:
    """A bundle that was written, checked and loaded.

    detections: backend → how int8's detections compare with float32's; empty without int8.
    """

    bundle: Bundle
    stages: tuple[ExportedStage, ...]
    detections: Mapping[str, AccuracyCheck]

    @property
    def path(self) -> Path:
        return self.bundle.path

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the path, and the manifest's entries about the export."""
        manifest, keys = read_manifest(self.path), ("operators", "parity", "int8", "files")
        return {"bundle": str(self.path), **{key: manifest[key] for key in keys if key in manifest}}


def export(
    run: Path | str | None = None,
    out: Path | str | None = None,
    options: ExportOptions = ExportOptions(),
    on_progress: OnProgress | None = None,
) -> ExportResult:
    """Export a training run as a bundle, after comparing every stage with the network.

    run: a run folder, a .safetensors checkpoint, or a bundle ("pretrained" included); default: the newest run below
    `runs`. out: the folder to write; default: RUN.infdet here. on_progress: called with steps done, all steps and the
    name of the next step.

    Raises UsageError for a wrong request, ParityError when a stage is out of tolerance, and the errors of reading the
    checkpoint and the recordings to calibrate on. An error leaves an existing folder unchanged.
    """
    if options.int8 and options.calibrate is None:
        raise UsageError("int8 needs --calibrate DIR: a data set or a folder of representative recordings")
    if options.int8 and not is_available("onnxruntime"):
        raise missing_package("onnxruntime", "onnxruntime", "int8")
    if run is None:
        run = newest_run()
        say(f"exporting the newest run, {run}")
    run = bundle_folder(run)
    if not run.exists():
        raise UsageError(f"{run}: no such run folder, checkpoint or bundle")
    out = Path(out or f"{run.resolve().name.removesuffix('.infdet') if run.is_dir() else run.stem}.infdet")
    if out.suffix != ".infdet":
        raise UsageError(f"--out is {out}; a bundle is called NAME.infdet")
    refuse_pretrained(out)
    # Wrong requests are refused before torch is loaded, which takes seconds.
    from infdet_deploy.exporting.bundle import check_int8, export_bundle
    from infdet_deploy.model.weights import load_network

    if options.int8:
        check_int8()  # before the recordings are read
    network, extra = load_network(checkpoint_file(run))
    classes, calibration, origin = network.config.classes, None, _origin(run, extra, network.config.classes)
    if options.calibrate is not None:
        from infdet_deploy.exporting.int8.calibration import read_calibration

        calibration = read_calibration(options.calibrate, network.config.preparation(origin.frame_mode), classes)
    export_bundle(network, out, options, origin, calibration, on_progress)
    return _result(load_bundle(out))


def _origin(run: Path, extra: Mapping[str, Any], classes: Sequence[str]) -> Origin:
    """The facts about the training: of a bundle from its manifest, else from its checkpoint's `extra`."""
    from infdet_deploy.training.checkpoint import saved_rule  # imports torch

    if (run / MANIFEST).is_file():
        bundle = load_bundle(run)
        return Origin(bundle.rule, bundle.manifest.source, bundle.preparation.mode, bundle.fps)
    return Origin(saved_rule(dict(extra), classes), run.name, extra.get("frame_mode", "resize"), extra.get("fps"))


def _result(bundle: Bundle) -> ExportResult:
    manifest = read_manifest(bundle.path)
    stages = []
    for precision, entries in manifest["parity"].items():
        for stage, entry in entries.items():
            formats = [format for format in ("onnx", "openvino", "torchscript") if format in entry]
            keys = {"onnx": "operators", "openvino": "operators_openvino"}
            operators = {format: entry[key] for format, key in keys.items() if key in entry}
            stages.append(ExportedStage(stage, precision, {f: entry[f] for f in formats}, operators))
    detections = manifest.get("int8", {}).get("detections", {})
    return ExportResult(bundle, tuple(stages), {b: AccuracyCheck.from_dict(check) for b, check in detections.items()})

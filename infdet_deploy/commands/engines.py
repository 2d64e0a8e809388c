"""`build`: a bundle's stages as engines, in the cache beside it."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from infdet_deploy.console import progress
from infdet_deploy.errors import BackendError, InfdetError, UsageError, missing_package


def build(
    path: Path,
    target: str,
    arch: str | None,
    precision: str,
    frames: str,
    clip_frames: int,
    memory_mb: int | None,
    dla: int | None,
    hardware_compatible: bool,
    version_compatible: bool,
) -> dict[str, Any]:
    """Build every stage that is not built yet; gives a JSON-ready report, a row for every stage and precision.

    A stage that its builder refuses has an `error` in its row; the others are built all the same. Raises UsageError for
    options that do not fit, InfdetError where the package or a GPU is missing.
    """
    from infdet_deploy.engines.cache import engine_folder
    from infdet_deploy.engines.options import TARGETS, BuildOptions
    from infdet_deploy.runtime.bundle import load_bundle

    if target not in TARGETS:
        raise UsageError(f"--target is {target}; expected {' or '.join(TARGETS)}")
    architectures = tuple(dict.fromkeys(part.strip().lower() for part in arch.split(","))) if arch else ()
    if (target == "tensorrt-rtx") != bool(architectures):
        said = (
            "needs --arch, such as --arch sm86,sm89" if not architectures else "builds for this GPU and takes no --arch"
        )
        raise UsageError(f"--target {target} {said}")
    if architectures and (dla is not None or hardware_compatible or version_compatible):
        raise UsageError("--dla, --hardware-compatible and --version-compatible are for --target tensorrt")
    options = BuildOptions(
        _frames(frames), clip_frames, memory_mb, dla, hardware_compatible, version_compatible, architectures
    )
    bundle = load_bundle(path)
    wanted = bundle.precisions if precision == "all" else tuple(precision.split(","))
    files = {(p, s): bundle.stage_file(s, p) for p in wanted for s in bundle.stages}
    package = TARGETS[target]
    if importlib.util.find_spec(package) is None:
        again = f"infdet-deploy build {bundle.path.name} --target {target}"
        again += f" --arch {arch}" if arch else ", both on the device"
        raise InfdetError(f"{missing_package(package, target, f'--target {target}')} && {again}")
    gpu, capability = (",".join(architectures), "any") if architectures else _gpu(path)
    version = importlib.import_module(package).__version__
    folder = engine_folder(bundle.path)
    rows = []
    with progress("build") as update:
        for done, ((precision_, stage), onnx) in enumerate(files.items()):
            update(done, len(files), f"{stage} {precision_}")
            parity = bundle.manifest.get("parity", {}).get(precision_, {}).get(stage, {})
            allowed = parity.get("operators", {}).get("float32", 0) if "float32_before" in parity else 0
            inputs = bundle.manifest["stages"][stage]["inputs"]
            job = _Job(target, folder, stage, precision_, onnx, inputs, allowed)
            rows.append(job.row(gpu, capability, version, options))
    return {
        "bundle": str(path), "target": target, "gpu": gpu, "capability": capability, "version": version,
        "engines": str(folder), "built": rows,
    }  # fmt: skip


class _Job:
    """One stage in one precision."""

    def __init__(
        self, target: str, folder: Path, stage: str, precision: str, onnx: Path, inputs: list[dict[str, Any]],
        float32_allowed: int,
    ) -> None:  # fmt: skip
        self.target, self.folder, self.stage, self.precision = target, folder, stage, precision
        self.onnx, self.inputs, self.float32_allowed = onnx, inputs, float32_allowed

    def row(self, gpu: str, capability: str, version: str, options: Any) -> dict[str, Any]:
        from infdet_deploy.engines import cache
        from infdet_deploy.engines.child import build_apart
        from infdet_deploy.engines.inspect import check_label
        from infdet_deploy.engines.options import TARGETS, profile

        key = cache.make_key(self.target, self.onnx, gpu, capability, version, options)
        row = {"stage": self.stage, "precision": self.precision}
        record = cache.lookup(self.folder, self.stage, self.precision, key)
        reused = record is not None
        if record is None:
            timing = None if options.arch else self.folder / f"timing.{key.version}.{_slug(gpu)}.cache"
            try:
                built = build_apart(TARGETS[self.target], self.onnx, profile(self.inputs, options), options, timing)
                what = f"{self.stage} on {gpu}"
                check_label(what, self.precision, built.convolutions, self.float32_allowed)
            except UsageError:
                raise
            except InfdetError as error:
                return row | {"error": str(error)}
            cache.store(self.folder, self.stage, self.precision, key, built)
            record = cache.lookup(self.folder, self.stage, self.precision, key)
            assert record is not None
        return row | {
            "engine": str(self.folder / f"{self.stage}.{self.precision}.{key.digest()}.engine"),
            "reused": reused,
            "build_s": record.build_s,
            "engine_bytes": record.engine_bytes,
            "inspected": record.inspected,
            "layers": record.layers,
            "convolutions": record.convolutions,
        }


def _gpu(bundle: Path) -> tuple[str, str]:
    from infdet_deploy.engines.device import current_device

    try:
        device = current_device()
    except BackendError as error:
        raise BackendError(
            f"{error}; an engine is built on the device that runs it: "
            f"infdet-deploy build {bundle.name} --target tensorrt, there"
        ) from None
    return device.name, device.capability


def _frames(text: str) -> tuple[int, int, int]:
    try:
        low, usual, high = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"--frames is {text}; expected MIN,OPT,MAX such as 16,128,384") from None
    return low, usual, high


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)

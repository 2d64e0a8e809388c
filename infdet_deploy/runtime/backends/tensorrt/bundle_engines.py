"""`build`: a bundle's stages as engines, in the cache beside it."""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.console import progress
from infdet_deploy.errors import BackendError, InfdetError, UsageError, missing_package

if TYPE_CHECKING:
    from infdet_deploy.bundle.loading import Bundle
    from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions


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
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.runtime.backends.tensorrt.cache import engine_folder
    from infdet_deploy.runtime.backends.tensorrt.options import TARGETS, BuildOptions

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
    # `network` and towers as steps too, in the precisions that they have
    held = {**bundle.manifest.stages, **(bundle.incremental.stages if bundle.incremental else {})}
    stages = [(s, p) for p in wanted for s in held if s in bundle.stages or p in held[s].files.get("onnx", {})]
    for stage, p in stages:
        bundle.stage_file(stage, p)  # refused before the first build
    builder = _builder(target, bundle.path.name, architectures)
    rows = []
    with progress("build") as update:
        for done, (stage, p) in enumerate(stages):
            update(done, len(stages), f"{stage} {p}")
            rows.append({"stage": stage, "precision": p} | _build(bundle, stage, p, builder, options))
    folder = str(engine_folder(bundle.path))
    return {"bundle": str(path), **dataclasses.asdict(builder), "engines": folder, "built": rows}


@dataclasses.dataclass(frozen=True)
class _Builder:
    """target and version: what builds; gpu and capability: the device, or the architectures and `any`."""

    target: str
    version: str
    gpu: str
    capability: str


def _builder(target: str, bundle: str, architectures: tuple[str, ...]) -> _Builder:
    from infdet_deploy.runtime.backends.tensorrt.device import current_device
    from infdet_deploy.runtime.backends.tensorrt.options import TARGETS

    package, again = TARGETS[target], f"infdet-deploy build {bundle} --target {target}"
    if importlib.util.find_spec(package) is None:
        there = f" --arch {','.join(architectures)}" if architectures else ", both on the device"
        raise InfdetError(f"{missing_package(package, target, f'--target {target}')} && {again}{there}")
    try:
        version = importlib.import_module(package).__version__
    except ImportError as error:  # its libraries are not found
        raise BackendError(f"{package} is installed but does not load: {' '.join(str(error).split())}") from None
    if architectures:
        return _Builder(target, version, ",".join(architectures), "any")
    try:
        device = current_device()
    except BackendError as error:
        raise BackendError(f"{error}; an engine is built on the device that runs it: {again}, there") from None
    return _Builder(target, version, device.name, device.capability)


def _build(bundle: "Bundle", stage: str, precision: str, builder: _Builder, options: "BuildOptions") -> dict[str, Any]:
    """Build one stage, unless the very same build is here; its row without stage and precision."""
    from infdet_deploy.runtime.backends.tensorrt import cache
    from infdet_deploy.runtime.backends.tensorrt.child import build_apart
    from infdet_deploy.runtime.backends.tensorrt.inspect import check_label
    from infdet_deploy.runtime.backends.tensorrt.options import TARGETS, profile

    onnx, folder = bundle.stage_file(stage, precision), cache.engine_folder(bundle.path)
    key = cache.make_key(builder.target, onnx, builder.gpu, builder.capability, builder.version, options)
    record = cache.lookup(folder, stage, precision, key)
    reused = record is not None
    if record is None:
        gpu = "".join(c if c.isalnum() else "-" for c in builder.gpu)
        timing = None if options.arch else folder / f"timing.{builder.version}.{gpu}.cache"
        shapes = profile(bundle.entry(stage).inputs, options)
        allowed = _float32_allowed(bundle, stage, precision)
        try:
            built = build_apart(TARGETS[builder.target], onnx, shapes, options, timing)
            check_label(f"{stage} on {builder.gpu}", precision, built.convolutions, allowed)
        except UsageError:
            raise
        except InfdetError as error:
            return {"error": str(error)}
        record = cache.store(folder, stage, precision, key, built)
    return {
        "engine": str(cache.engine_file(folder, stage, precision, key)),
        "reused": reused,
        "engine_bytes": record.engine_bytes,
        **record.report(),
    }


def _float32_allowed(bundle: "Bundle", stage: str, precision: str) -> int:
    """How many of a stage's convolutions may be float32 although it is called by another precision.

    A float16 tower may keep its first layers so, an int8 stage any; what else the head keeps are products. `network`
    keeps what its stages do.
    """
    parity = bundle.manifest.parity.get(precision, {})
    parts = [parity[part] for part in (bundle.stages if stage == NETWORK else (stage,)) if part in parity]
    keep = (part for part in parts if precision == "int8" or part.float32_before is not None)
    return sum(part.operators.get("float32", 0) for part in keep)


def _frames(text: str) -> tuple[int, int, int]:
    try:
        low, usual, high = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"--frames is {text}; expected MIN,OPT,MAX such as 16,128,384") from None
    return low, usual, high

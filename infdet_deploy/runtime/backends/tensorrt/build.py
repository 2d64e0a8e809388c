"""`build`: TensorRT engines of a bundle's stages, in the engine cache next to the bundle."""

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.bundle.loading import NETWORK, Bundle, load_bundle
from infdet_deploy.console import OnProgress
from infdet_deploy.errors import BackendError, InfdetError, UsageError, missing_package
from infdet_deploy.runtime.backends.tensorrt import engine_cache
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions, profile
from infdet_deploy.runtime.backends.tensorrt.cuda import current_device
from infdet_deploy.runtime.backends.tensorrt.engine import PACKAGES, build_in_child
from infdet_deploy.runtime.backends.tensorrt.engine_cache import Platform, Record
from infdet_deploy.runtime.backends.tensorrt.inspect import check_precision


@dataclass(frozen=True)
class StageBuild:
    """The engine of one stage in one precision, or the reason why there is none.

    engine: its file in the cache. record: its sizes, hashes and layer types. reused: an earlier build of the same
    graph with the same options was kept. error: why TensorRT refused the stage; then engine and record are None.
    """

    stage: str
    precision: str
    engine: Path | None = None
    record: Record | None = None
    reused: bool = False
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types: the error, or the engine's file, size and layer types."""
        stage = {"stage": self.stage, "precision": self.precision}
        if self.record is None:
            return {**stage, "error": self.error}
        names = ("engine_bytes", "build_s", "inspected", "layers", "convolutions")
        values = {name: getattr(self.record, name) for name in names}
        return {**stage, "engine": str(self.engine), "reused": self.reused, **values}


@dataclass(frozen=True)
class BuildResult:
    """All engines of a build. engines: the cache folder. built: one entry for each stage and precision."""

    bundle: Path
    platform: Platform
    engines: Path
    built: tuple[StageBuild, ...]

    @property
    def refused(self) -> tuple[StageBuild, ...]:
        """The stages without an engine."""
        return tuple(entry for entry in self.built if entry.error is not None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, with the platform's fields next to the others."""
        built = [entry.to_dict() for entry in self.built]
        return {"bundle": str(self.bundle), **asdict(self.platform), "engines": str(self.engines), "built": built}


def build(
    bundle: Bundle | Path | str, options: BuildOptions | None = None, on_progress: OnProgress | None = None
) -> BuildResult:
    """Build an engine for every stage and precision that has none yet.

    A stage that TensorRT refuses has an `error` in the result; the other stages are built.
    Raises UsageError if the bundle lacks a precision, InfdetError without the package or (target `tensorrt`) a GPU.
    """
    options = options or BuildOptions()
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    stages = list(_stages(bundle, options.precisions or bundle.precisions))
    platform = _platform(bundle.path.name, options)
    built = []
    for done, (stage, precision) in enumerate(stages):
        if on_progress:
            on_progress(done, len(stages), f"{stage} {precision}")
        built.append(_build(bundle, stage, precision, platform, options))
    return BuildResult(bundle.path, platform, engine_cache.engine_folder(bundle.path), tuple(built))


def _stages(bundle: Bundle, precisions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What to build. Raises UsageError if a stage of the network lacks a precision."""
    # Extra stages (`network`, incremental towers) are built in the precisions they have.
    for precision in precisions:
        for stage, entry in bundle.manifest.all_stages.items():
            if stage in bundle.stages or precision in entry.files.get("onnx", {}):
                bundle.stage_file(stage, precision)
                yield stage, precision


def _platform(bundle: str, options: BuildOptions) -> Platform:
    package, command = PACKAGES[options.target], f"infdet-deploy build {bundle} --target {options.target}"
    if importlib.util.find_spec(package) is None:
        place = f" --arch {','.join(options.arch)}" if options.arch else ", both on the device"
        error = missing_package(package, options.target, f"--target {options.target}")
        raise InfdetError(f"{error} && {command}{place}")
    try:
        version = importlib.import_module(package).__version__
    except ImportError as error:  # the package does not find its libraries
        raise BackendError(f"{package} is installed but does not load: {' '.join(str(error).split())}") from None
    if options.arch:
        return Platform(options.target, version, ",".join(options.arch), "any")
    try:
        return Platform(options.target, version, *current_device())
    except BackendError as error:
        raise BackendError(f"{error}; build on the device that will run the engines: {command}") from None


def _build(bundle: Bundle, stage: str, precision: str, platform: Platform, options: BuildOptions) -> StageBuild:
    """Build one stage, or reuse its engine."""
    onnx, folder = bundle.stage_file(stage, precision), engine_cache.engine_folder(bundle.path)
    key = engine_cache.make_key(platform, onnx, options)
    path = key.file(folder, stage, precision)
    record = engine_cache.lookup(path, key)
    if record is not None:
        return StageBuild(stage, precision, path, record, reused=True)
    gpu = "".join(c if c.isalnum() else "-" for c in platform.gpu)
    timing_cache = None if options.arch else folder / f"timing.{platform.version}.{gpu}.cache"
    shapes = profile(bundle.entry(stage).inputs, options)
    try:
        engine = build_in_child(onnx, shapes, options, timing_cache)
        allowed = _float32_allowed(bundle, stage, precision)
        check_precision(f"{stage} on {platform.gpu}", precision, engine.convolutions, allowed)
    except UsageError:
        raise
    except InfdetError as error:
        return StageBuild(stage, precision, error=str(error))
    return StageBuild(stage, precision, path, engine_cache.store(path, stage, precision, key, engine))


def _float32_allowed(bundle: Bundle, stage: str, precision: str) -> int:
    """How many convolutions of a stage may be float32 in this precision.

    A float16 tower may keep its first layers in float32, an int8 stage any layer. `network` keeps what its stages keep.
    """
    parity = bundle.manifest.parity.get(precision, {})
    stages = [parity[name] for name in (bundle.stages if stage == NETWORK else (stage,)) if name in parity]
    keep = (entry for entry in stages if precision == "int8" or entry.float32_before is not None)
    return sum(entry.operators.get("float32", 0) for entry in keep)

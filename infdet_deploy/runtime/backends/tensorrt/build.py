"""One ONNX stage → one serialized engine, with TensorRT 10 and 11 and with TensorRT-RTX alike.

The graphs say in which type every operator computes, so engines are strongly typed: TensorRT may not choose another.
"""

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from infdet_deploy.errors import BackendError, UsageError
from infdet_deploy.files import whole_file
from infdet_deploy.runtime.backends.tensorrt.inspect import convolution_kinds, engine_layers, network_layers, precisions
from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions, Shape


@dataclass(frozen=True)
class BuildReport:
    """What a builder tells of an engine.

    layers: how many layers compute in each type, as the engine says (`inspected`) or, where there is no GPU to load it
    on, as the parsed network says. convolutions: the same of convolutions alone.
    """

    build_s: float
    inspected: bool
    layers: dict[str, int]
    convolutions: dict[str, int]

    def report(self) -> dict[str, Any]:
        """These four fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(BuildReport)}


@dataclass(frozen=True)
class Built(BuildReport):
    """An engine and what its builder tells of it."""

    engine: bytes


def build_engine(
    trt: Any,
    onnx: Path,
    shapes: dict[str, tuple[Shape, Shape, Shape]],
    options: BuildOptions,
    timing_cache: Path | None = None,
) -> Built:
    """Build the engine of the stage at `onnx`.

    trt: the module `tensorrt` or `tensorrt_rtx`. shapes: see `options.profile`. timing_cache: what TensorRT measured in
    earlier builds on this device; read where it exists, written afterwards.
    Raises BackendError with what TensorRT reported when it does not parse or does not build.
    """
    start = time.perf_counter()
    log = logger(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt, network, onnx, log)
    if options.dla is not None:
        _refuse_3d(trt, network, onnx)
    config = _configure(trt, builder, options)
    if shapes:
        profile = builder.create_optimization_profile()
        for name, (low, usual, high) in shapes.items():
            profile.set_shape(name, low, usual, high)
        config.add_optimization_profile(profile)
    if timing_cache is not None:
        known = timing_cache.read_bytes() if timing_cache.is_file() else b""
        # a cache of another version is refused; then the build measures anew
        if not config.set_timing_cache(config.create_timing_cache(known), False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(f"{trt.__name__} {trt.__version__} does not build {onnx.name}: {reported(log)}")
    if timing_cache is not None:
        with whole_file(timing_cache) as temporary:
            temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
    engine = bytes(plan)
    seconds = time.perf_counter() - start
    layers = engine_layers(trt, engine, shapes, log) if not options.arch else None
    counts = precisions(layers if layers is not None else network_layers(trt, network))
    return Built(seconds, layers is not None, *counts, engine)


def _parse(trt: Any, network: Any, onnx: Path, log: Any) -> None:
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        error = parser.get_error(0) if parser.num_errors else None
        where = f" at {error.node_name()} ({error.node_operator()})" if error else ""
        what = error.desc().strip() if error else reported(log)
        raise BackendError(f"{trt.__name__} {trt.__version__} does not parse {onnx.name}{where}: {_line(what)}")
    if not network.num_layers:
        raise BackendError(f"{trt.__name__} {trt.__version__} finds no layer in {onnx.name}; export the bundle again")


def _configure(trt: Any, builder: Any, options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector could not tell types
    if options.memory_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.memory_mb << 20)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.dla is not None:
        cores = builder.num_DLA_cores
        if not 0 <= options.dla < cores:
            raise UsageError(f"--dla is {options.dla}; TensorRT {trt.__version__} finds {cores} DLA cores here")
        config.default_device_type, config.DLA_core = trt.DeviceType.DLA, options.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if options.arch:
        config.num_compute_capabilities = len(options.arch)
        for index, arch in enumerate(options.arch):
            config.set_compute_capability(_architecture(trt, arch), index)
    return config


def _architecture(trt: Any, arch: str) -> Any:
    known = sorted(name for name in vars(trt.ComputeCapability) if name.startswith("SM"))
    if arch.upper() not in known:
        raise UsageError(f"--arch has {arch}; {trt.__name__} {trt.__version__} knows {', '.join(known).lower()}")
    return getattr(trt.ComputeCapability, arch.upper())


def _refuse_3d(trt: Any, network: Any, onnx: Path) -> None:
    kinds = convolution_kinds(trt)
    convolutions = [layer for layer in map(network.get_layer, range(network.num_layers)) if layer.type in kinds]
    # input [batch, channels, depth, height, width]
    deep = [layer for layer in convolutions if len(layer.get_input(0).shape) == 5]
    if deep:
        raise UsageError(
            f"{onnx.name} has {len(deep)} 3D convolutions, which a DLA does not compute; export with "
            "--conv2d, or build without --dla"
        )


_loggers: dict[str, Any] = {}


def logger(trt: Any) -> Any:
    """The process's one logger: TensorRT keeps the first that it is given. Its `errors` gathers what went wrong."""
    if trt.__name__ not in _loggers:

        class Gathering(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    self.errors.append(message)

        _loggers[trt.__name__] = Gathering()
    return _loggers[trt.__name__]


def reported(log: Any) -> str:
    """The logger's gathered errors in one line, without the one that only says that there is no GPU."""
    found = [_line(message) for message in log.errors if "cudaError 35" not in message]
    return "; ".join(dict.fromkeys(found)) or "no reason was given"


def _line(text: str) -> str:
    return " ".join(text.split())

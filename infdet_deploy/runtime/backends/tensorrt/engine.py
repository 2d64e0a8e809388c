"""One ONNX stage → one serialized engine, with TensorRT 10, TensorRT 11 or TensorRT-RTX.

Engines are strongly typed: the graph says in which type every operator computes, and TensorRT keeps to it.
"""

import importlib
import multiprocessing
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from infdet_deploy.errors import BackendError, InfdetError, UsageError
from infdet_deploy.files import whole_file
from infdet_deploy.runtime.backends.tensorrt import inspect
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions, ShapeRange

PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # target → the package that builds it


@dataclass(frozen=True)
class Engine:
    """A serialized engine and the types its layers compute in.

    layers: type → number of layers. Read from the engine if `inspected`, else (no GPU to load it) from the parsed
    network. convolutions: the same for convolutions only.
    """

    data: bytes
    build_s: float
    inspected: bool
    layers: dict[str, int]
    convolutions: dict[str, int]


def build_engine(
    onnx: Path, shapes: Mapping[str, ShapeRange], options: BuildOptions, timing_cache: Path | None = None
) -> Engine:
    """Build the engine of the stage at `onnx`.

    shapes: from `build_options.profile`. timing_cache: a file of kernel timings from earlier builds on this device,
    read if it exists, and updated. Raises BackendError with TensorRT's message if the graph does not parse or build.
    """
    start = time.perf_counter()
    trt = importlib.import_module(PACKAGES[options.target])
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
        # TensorRT refuses a cache of another version; then start an empty one.
        if not config.set_timing_cache(config.create_timing_cache(known), False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(f"{trt.__name__} {trt.__version__} does not build {onnx.name}: {reported(log)}")
    if timing_cache is not None:
        with whole_file(timing_cache) as temporary:
            temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
    data = bytes(plan)
    seconds = time.perf_counter() - start
    layers = None if options.arch else inspect.engine_layers(trt, log, data, shapes)
    counts = inspect.count_types(inspect.network_layers(trt, network) if layers is None else layers)
    return Engine(data, seconds, layers is not None, *counts)


def _parse(trt: Any, network: Any, onnx: Path, log: Any) -> None:
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        error = parser.get_error(0) if parser.num_errors else None
        where = f" at {error.node_name()} ({error.node_operator()})" if error else ""
        reason = _line(error.desc()) if error else reported(log)
        raise BackendError(f"{trt.__name__} {trt.__version__} does not parse {onnx.name}{where}: {reason}")
    if not network.num_layers:
        raise BackendError(f"{trt.__name__} {trt.__version__} finds no layer in {onnx.name}; export the bundle again")


def _configure(trt: Any, builder: Any, options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the engine inspector needs it to report types
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
    layers = map(network.get_layer, range(network.num_layers))
    # a 3D convolution's input is [batch, channels, depth, height, width]
    count = sum(layer.type in inspect.convolution_kinds(trt) and len(layer.get_input(0).shape) == 5 for layer in layers)
    if count:
        raise UsageError(
            f"{onnx.name} has {count} 3D convolutions, which a DLA does not support; export with --conv2d, or build "
            "without --dla"
        )


_loggers: dict[str, Any] = {}


def logger(trt: Any) -> Any:
    """The process's logger; its `errors` lists what TensorRT reported. TensorRT keeps the first logger it receives."""
    if trt.__name__ not in _loggers:

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    self.errors.append(message)

        _loggers[trt.__name__] = Logger()
    return _loggers[trt.__name__]


def reported(log: Any) -> str:
    """The logger's errors in one line. `cudaError 35` only says that there is no GPU."""
    errors = [_line(message) for message in log.errors if "cudaError 35" not in message]
    return "; ".join(dict.fromkeys(errors)) or "no reason was given"


def _line(text: str) -> str:
    return " ".join(text.split())


def build_in_child(
    onnx: Path, shapes: Mapping[str, ShapeRange], options: BuildOptions, timing_cache: Path | None = None
) -> Engine:
    """`build_engine` in a child process, because some graphs crash TensorRT. Also frees the builder's memory.

    Raises BackendError if the graph does not build or the child crashes.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, onnx, shapes, options, timing_cache))
    child.start()
    sender.close()
    try:
        answer: Engine | InfdetError = receiver.recv()
    except EOFError:
        child.join()
        code = child.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        answer = BackendError(
            f"{PACKAGES[options.target]} crashed on {onnx.name} ({how}): a graph it cannot build, or too little memory"
        )
    child.join()
    if isinstance(answer, InfdetError):
        raise answer
    return answer


def _child(sender: Connection, onnx: Path, *arguments: Any) -> None:
    try:
        sender.send(build_engine(onnx, *arguments))
    except InfdetError as error:
        sender.send(error)
    except Exception as error:
        sender.send(BackendError(f"TensorRT on {onnx.name}: {type(error).__name__}: {_line(str(error))}"))

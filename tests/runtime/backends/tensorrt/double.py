"""A test double of TensorRT and of CUDA's runtime calls, on the CPU and as strict as they are.

`tensorrt(version)` and `cuda_runtime()` make the two modules. An engine computes its ONNX file with OpenVINO. Device
memory is host memory known only to the double's calls. What TensorRT refuses, the double refuses in the same way: with
None or False and a line in the logger.
"""

import ctypes
import enum
import functools
import hashlib
import io
import itertools
import json
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

GPU = {"name": "Orin", "capability": "8.7", "dla_cores": 2, "device": 0}
FAIL_BUILD = False  # every build fails as if no kernel was found
SILENT_FLOAT32 = False  # engines compute in float32 whatever the graph says
_REMOVED_IN_11 = ("FP16", "INT8", "BF16")


# --- CUDA ---------------------------------------------------------------------------------------------------------


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorStreamCaptureInvalidated = 901


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


memory: dict[int, np.ndarray] = {}
devices: dict[int, int] = {}  # address → GPU, if not the current one
streams: set[int] = set()
capturing: dict[int, list[Callable[[], None]]] = {}
graphs: dict[int, list[Callable[[], None]]] = {}
launches: list[int] = []
_numbers = itertools.count(100)
OK = Status.cudaSuccess


def on_device(address: int, size: int) -> bool:
    return any(base <= address and address + size <= base + max(a.nbytes, 1) for base, a in memory.items())


def known(stream: int) -> bool:
    return stream in streams or stream in (0, 1, 2)


def _malloc(size: int) -> tuple:
    array = np.full(size, 0xAB, np.uint8)
    memory[array.ctypes.data] = array
    return OK, array.ctypes.data


def _free(address: int) -> tuple:
    return (OK if memory.pop(address, None) is not None else Status.cudaErrorInvalidValue,)


def _copy(target: int, source: int, size: int, kind: Kind, stream: int = 0) -> tuple:
    wrong = not known(stream)
    wrong |= on_device(target, size) != (kind != Kind.cudaMemcpyDeviceToHost)
    wrong |= on_device(source, size) != (kind != Kind.cudaMemcpyHostToDevice)
    if wrong:
        return (Status.cudaErrorInvalidValue,)
    ctypes.memmove(target, source, size)
    return (OK,)


def _memset(address: int, value: int, size: int) -> tuple:
    if not on_device(address, size):
        return (Status.cudaErrorInvalidValue,)
    ctypes.memset(address, value, size)
    return (OK,)


def _new_stream() -> tuple:
    streams.add(number := next(_numbers))
    return OK, number


def _drop_stream(stream: int) -> tuple:
    streams.discard(stream)
    return (OK,)


def _synchronize(stream: int) -> tuple:
    return (OK if known(stream) and stream not in capturing else Status.cudaErrorInvalidValue,)


def _begin(stream: int, mode: object) -> tuple:
    if stream not in streams:  # the default stream cannot be captured
        return (Status.cudaErrorInvalidValue,)
    capturing[stream] = []
    return (OK,)


def _end(stream: int) -> tuple:
    work = capturing.pop(stream)
    if not work:
        return Status.cudaErrorStreamCaptureInvalidated, None
    graphs[number := next(_numbers)] = work
    return OK, number


def _instantiate(graph: int, flags: int) -> tuple:
    graphs[number := next(_numbers)] = graphs[graph]
    return OK, number


def _launch(graph: int, stream: int) -> tuple:
    if graph not in graphs or not known(stream):
        return (Status.cudaErrorInvalidValue,)
    launches.append(graph)
    for work in graphs[graph]:
        work()
    return (OK,)


def _drop_graph(graph: int) -> tuple:
    return (OK if graphs.pop(graph, None) else Status.cudaErrorInvalidValue,)


def _properties(device: int) -> tuple:
    major, minor = map(int, GPU["capability"].split("."))
    return OK, types.SimpleNamespace(name=GPU["name"].encode(), major=major, minor=minor)


def cuda_runtime() -> types.ModuleType:
    module = types.ModuleType("cuda.bindings.runtime")
    module.cudaMemcpyKind = Kind
    module.cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    calls = {
        "cudaGetDevice": lambda: (OK, GPU["device"]), "cudaGetDeviceProperties": _properties, "cudaMalloc": _malloc,
        "cudaFree": _free, "cudaMemcpy": _copy, "cudaMemcpyAsync": _copy, "cudaMemset": _memset,
        "cudaStreamCreate": _new_stream, "cudaStreamSynchronize": _synchronize,
        "cudaStreamDestroy": _drop_stream,
        "cudaStreamBeginCapture": _begin, "cudaStreamEndCapture": _end, "cudaGraphInstantiate": _instantiate,
        "cudaGraphLaunch": _launch, "cudaGraphDestroy": _drop_graph, "cudaGraphExecDestroy": _drop_graph,
        "cudaGetLastError": lambda: (OK,),
        "cudaPointerGetAttributes": lambda p: (OK, types.SimpleNamespace(device=devices.get(p, GPU["device"]))),
    }  # fmt: skip
    for name, call in calls.items():
        setattr(module, name, call)
    return module


# --- TensorRT -----------------------------------------------------------------------------------------------------


class DataType(enum.Enum):
    FLOAT, HALF, INT64, UINT8, BF16, BOOL = range(6)


class LayerType(enum.Enum):
    CONVOLUTION, DECONVOLUTION, MATRIX_MULTIPLY, POOLING, NORMALIZATION, DEQUANTIZE, OTHER = range(7)


_NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT64: np.int64, DataType.UINT8: np.uint8}
_ONNX = {
    1: DataType.FLOAT,
    10: DataType.HALF,
    7: DataType.INT64,
    2: DataType.UINT8,
    16: DataType.BF16,
    9: DataType.BOOL,
}
_LAYERS = {
    "Conv": LayerType.CONVOLUTION, "ConvTranspose": LayerType.DECONVOLUTION, "MatMul": LayerType.MATRIX_MULTIPLY,
    "DequantizeLinear": LayerType.DEQUANTIZE,
    "Gemm": LayerType.MATRIX_MULTIPLY, "MaxPool": LayerType.POOLING, "AveragePool": LayerType.POOLING,
}  # fmt: skip


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        pass


# Parsing and compiling are slow, and tests build the same graphs again and again: both are cached by SHA-256. An engine
# file contains only the hash, so engines load in the process that built them.
_onnx: dict[str, bytes] = {}


@functools.lru_cache(maxsize=32)
def _parsed(digest: str) -> tuple[str | None, list[types.SimpleNamespace], dict[str, tuple]]:
    """Name of the first unsupported node, layers, and input shapes of a graph."""
    import onnx

    try:
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(_onnx[digest]))
    except Exception:
        return None, [], {}  # like TensorRT: garbage gives an empty network
    values = {v.name: v.type.tensor_type for v in (*model.graph.input, *model.graph.value_info)}
    layers = []
    for node in model.graph.node:
        if node.op_type == "Unheard":
            return node.name, [], {}
        found = values.get(node.input[0]) if node.input else None
        tensor = types.SimpleNamespace(
            name=node.input[0] if node.input else "",
            dtype=_ONNX.get(found.elem_type if found else 1, DataType.FLOAT),
            shape=tuple(d.dim_value or -1 for d in found.shape.dim) if found else (),
        )
        output = types.SimpleNamespace(name=node.output[0])
        layers.append(
            types.SimpleNamespace(
                name=node.name, type=_LAYERS.get(node.op_type, LayerType.OTHER),
                get_input=lambda index, tensor=tensor: tensor, get_output=lambda index, output=output: output,
            )
        )  # fmt: skip
    shapes = {v.name: tuple(d.dim_value or -1 for d in v.type.tensor_type.shape.dim) for v in model.graph.input}
    return None, layers, shapes


class Network:
    def __init__(self) -> None:
        self.layers: list = []
        self.inputs: dict[str, tuple] = {}
        self.digest = ""

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> types.SimpleNamespace:
        return self.layers[index]


class OnnxParser:
    def __init__(self, network: Network, log: ILogger) -> None:
        self.network, self.errors = network, []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> types.SimpleNamespace:
        return self.errors[index]

    def parse_from_file(self, path: str) -> bool:
        data = Path(path).read_bytes()
        self.network.digest = digest = hashlib.sha256(data).hexdigest()
        _onnx[digest] = data
        unsupported, self.network.layers, self.network.inputs = _parsed(digest)
        if unsupported is not None:
            error = {"node_name": unsupported, "node_operator": "Unheard", "desc": "no importer\nfor operator"}
            self.errors.append(types.SimpleNamespace(**{k: lambda text=text: text for k, text in error.items()}))
        return unsupported is None


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple] = {}

    def set_shape(self, name: str, low: tuple, usual: tuple, high: tuple) -> None:
        if not all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
            raise ValueError("min, opt, max out of order")
        self.shapes[name] = (low, usual, high)


class TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


@functools.lru_cache(maxsize=8)
def _compiled(digest: str) -> tuple:
    """OpenVINO's model of a graph, compiled, and its ports by name."""
    from infdet_deploy.runtime.backends.openvino import shared_core

    model = shared_core().read_model(io.BytesIO(_onnx[digest]))
    # The compiled model may call a port by the name of a cast that it has fused.
    names = [port.get_any_name() for port in (*model.inputs, *model.outputs)]
    compiled = shared_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return model, compiled, dict(zip(names, (*compiled.inputs, *compiled.outputs), strict=True))


@functools.lru_cache(maxsize=256)
def _output_shape(digest: str, name: str, inputs: tuple[tuple[str, tuple], ...]) -> tuple:
    model = _compiled(digest)[0].clone()
    model.reshape({name: list(shape) for name, shape in inputs})
    return tuple(model.output(name).get_shape())


class Engine:
    device_memory_size_v2 = 4096

    def __init__(self, plan: bytes, log: ILogger) -> None:
        self.plan, self.logger = json.loads(plan), log
        self.digest = self.plan["onnx"]
        self.input_names = list(_parsed(self.digest)[2])

    @property
    def compiled(self) -> object:
        return _compiled(self.digest)[1]

    @property
    def tensors(self) -> dict:
        return _compiled(self.digest)[2]

    def get_tensor_shape(self, name: str) -> tuple:
        inputs = _parsed(self.digest)[2]
        if name in inputs:
            return inputs[name]
        return tuple(-1 if d.is_dynamic else d.get_length() for d in self.tensors[name].get_partial_shape())

    def get_tensor_dtype(self, name: str) -> DataType:
        dtype = self.tensors[name].get_element_type().to_dtype()
        return next(key for key, value in _NUMPY.items() if value == dtype)

    def get_tensor_profile_shape(self, name: str, index: int) -> tuple:
        return tuple(map(tuple, self.plan["shapes"][name]))

    def create_execution_context(self, strategy: object) -> "Context":
        assert strategy == "USER_MANAGED"
        return Context(self)

    def create_engine_inspector(self) -> types.SimpleNamespace:
        def information(form: object) -> str:
            context = inspector.execution_context
            known = context is not None and context.complete()
            layers = [
                {
                    "Name": layer["name"], "LayerType": layer["kind"],
                    "Inputs": [{"Format/Datatype": layer["dtype"] if known else "N/A due to dynamic shapes"}],
                }
                for layer in self.plan["layers"]
            ]  # fmt: skip
            return json.dumps({"Layers": layers})

        inspector = types.SimpleNamespace(execution_context=None, get_engine_information=information)
        return inspector


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}
        self.scratch, self.prepared = 0, False

    def fail(self, text: str) -> bool:
        self.engine.logger.log(ILogger.ERROR, f"IExecutionContext::enqueueV3: Error Code 3: {text}")
        return False

    def set_device_memory(self, address: int, size: int) -> None:
        assert on_device(address, size)
        self.scratch = address

    def set_input_shape(self, name: str, shape: tuple) -> bool:
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            return self.fail(f"shape {shape} of {name} is out of the profile")
        self.shapes[name], self.prepared = tuple(shape), False
        return True

    def complete(self) -> bool:
        return all(n in self.shapes or -1 not in self.engine.get_tensor_shape(n) for n in self.engine.input_names)

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple:
        if name in self.engine.input_names:
            return self.shapes.get(name, self.engine.get_tensor_shape(name))
        assert self.complete(), "set all input shapes before reading output shapes"
        inputs = tuple((n, self.get_tensor_shape(n)) for n in self.engine.input_names)
        return _output_shape(self.engine.digest, name, inputs)

    def compute(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self.engine.compiled(feeds)
        return {port.get_any_name(): results[port] for port in self.engine.compiled.outputs}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if not self.complete():
            return self.fail("an input's shape is not set")
        if missing := [name for name in self.engine.tensors if not self.addresses.get(name)]:
            return self.fail(f"no address is set for {missing[0]}")
        if not self.scratch:
            return self.fail("no device memory is set")
        if not known(stream):
            return self.fail("no such stream")
        shapes, addresses = {n: self.get_tensor_shape(n) for n in self.engine.input_names}, dict(self.addresses)

        def work() -> None:
            feeds = {name: _view(addresses[name], shape, self._type(name)).copy() for name, shape in shapes.items()}
            for name, result in self.compute(feeds).items():
                _view(addresses[name], result.shape, self._type(name))[...] = result

        if stream in capturing:
            if not self.prepared:
                return self.fail("the first enqueue after a change of shape cannot be captured")
            capturing[stream].append(work)
            return True
        work()
        self.prepared = True
        return True

    def _type(self, name: str) -> type:
        return _NUMPY[self.engine.get_tensor_dtype(name)]


def _view(address: int, shape: tuple, dtype: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    assert on_device(address, size), "an address is outside device memory"
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


def tensorrt(version: str) -> types.ModuleType:
    """The module `tensorrt` of that version; 11 lacks what was removed."""
    module = types.ModuleType("tensorrt")
    eleven = int(version.split(".")[0]) >= 11
    flags = ["VERSION_COMPATIBLE", "GPU_FALLBACK", "REFIT", *(() if eleven else _REMOVED_IN_11)]
    builder_flag = enum.Enum("BuilderFlag", flags)

    class Config:
        def __init__(self) -> None:
            self.profiles, self.flags, self.pools = [], [], {}
            self.hardware_compatibility_level = self.default_device_type = self.profiling_verbosity = None
            self.DLA_core = -1
            self.cache = None

        def add_optimization_profile(self, profile: Profile) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def set_memory_pool_limit(self, pool: object, size: int) -> None:
            self.pools[pool] = size

        def set_flag(self, flag: enum.Enum) -> None:
            assert isinstance(flag, builder_flag)
            self.flags.append(flag.name)

        def create_timing_cache(self, data: bytes) -> TimingCache:
            return TimingCache(data)

        def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
            if cache.data and not cache.data.startswith(version.encode()):
                return False
            self.cache = cache
            return True

        def get_timing_cache(self) -> TimingCache:
            return self.cache

    class Builder:
        num_DLA_cores = GPU["dla_cores"]

        def __init__(self, log: ILogger) -> None:
            self.logger = log

        def create_network(self, bits: int) -> Network:
            assert bits == 2, "strongly typed"
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            shapes = config.profiles[0].shapes if config.profiles else {}
            if unset := [n for n, shape in network.inputs.items() if -1 in shape and n not in shapes]:
                self.logger.log(ILogger.ERROR, f"Error Code 4: input {unset[0]} is dynamic and has no profile")
                return None
            if FAIL_BUILD:
                self.logger.log(ILogger.INFO, "a note that is no error")
                self.logger.log(ILogger.ERROR, "Error Code 10: Could not find\n any implementation for node fen/conv1")
                return None
            if config.cache is not None:
                config.cache.data = f"{version} measured".encode()
            names = {DataType.FLOAT: "Row major linear FP32", DataType.HALF: "Channel major FP16 format"}
            layers = [
                {
                    "name": layer.name, "kind": "CaskConvolution" if "CONV" in layer.type.name else "Other",
                    "dtype": names[DataType.FLOAT if SILENT_FLOAT32 else layer.get_input(0).dtype],
                }
                for layer in network.layers
                if layer.type is not LayerType.OTHER
            ]  # fmt: skip
            layers.append({"name": "Reformatting CopyNode", "kind": "Reformat", "dtype": "Row major linear FP32"})
            plan = {
                "version": version, "gpu": GPU["name"], "capability": GPU["capability"], "shapes": shapes,
                "onnx": network.digest, "layers": layers, "flags": config.flags,
                "memory": list(config.pools.values()), "dla": config.DLA_core,
                "hardware": config.hardware_compatibility_level,
            }  # fmt: skip
            return json.dumps(plan).encode()

    class Runtime:
        def __init__(self, log: ILogger) -> None:
            self.logger, self.engine_host_code_allowed = log, False

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            engine = json.loads(plan)
            if engine["version"] != version and not (
                "VERSION_COMPATIBLE" in engine["flags"] and self.engine_host_code_allowed
            ):
                self.logger.log(ILogger.ERROR, f"Error Code 6: the engine is of version {engine['version']}")
                return None
            if engine["gpu"] != GPU["name"] and engine["hardware"] != "AMPERE_PLUS":
                self.logger.log(ILogger.ERROR, "Error Code 6: the engine plan is for another GPU")
                return None
            return Engine(plan, self.logger)

    plain = types.SimpleNamespace
    contents = {
        "__version__": version, "ILogger": ILogger, "Builder": Builder, "Runtime": Runtime, "OnnxParser": OnnxParser,
        "DataType": DataType, "LayerType": LayerType, "BuilderFlag": builder_flag, "nptype": lambda d: _NUMPY[d],
        "NetworkDefinitionCreationFlag": plain(STRONGLY_TYPED=1), "MemoryPoolType": plain(WORKSPACE="WORKSPACE"),
        "HardwareCompatibilityLevel": plain(AMPERE_PLUS="AMPERE_PLUS"), "DeviceType": plain(DLA="DLA", GPU="GPU"),
        "ProfilingVerbosity": plain(DETAILED="DETAILED"), "LayerInformationFormat": plain(JSON="JSON"),
        "ExecutionContextAllocationStrategy": plain(USER_MANAGED="USER_MANAGED"),
    }  # fmt: skip
    for name, value in contents.items():
        setattr(module, name, value)
    return module

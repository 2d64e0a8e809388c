"""The types an engine computes in, layer by layer, and whether they match the precision it is named after."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infdet_deploy.errors import ParityError
from infdet_deploy.runtime.backends.tensorrt.build_options import ShapeRange

# Words of the engine inspector in all versions → type.
_TYPES = {
    "bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "half": "float16", "float16": "float16",
    "fp32": "float32", "float": "float32", "float32": "float32", "fp8": "float8", "int8": "int8", "int32": "int32",
    "int64": "int64", "uint8": "uint8", "bool": "bool",
}  # fmt: skip
# Generated kernels whose metadata may name a convolution because they include its padding or cast.
_BETWEEN = ("kgen", "pointwise", "pooling", "reduce")
_NOT_ARITHMETIC = ("reformat", "constant", "noop", "shape", "signal", "wait")
_CONVOLUTION = re.compile(r"/Conv(Transpose)?(_\d+)?\b")  # name of an ONNX node


@dataclass(frozen=True)
class Layer:
    """A layer's name, the type it computes in (`other` if unknown), and whether it is a convolution."""

    name: str
    precision: str
    convolution: bool


def engine_layers(trt: Any, log: Any, engine: bytes, shapes: Mapping[str, ShapeRange]) -> list[Layer] | None:
    """The layers that TensorRT's engine inspector lists; None if this machine cannot load the engine."""
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        return None
    inspector = loaded.create_engine_inspector()
    context = loaded.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    for name, (_, usual, _) in shapes.items():  # without shapes the inspector omits formats
        context.set_input_shape(name, usual)
    inspector.execution_context = context
    return read_layers(json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON)))


def read_layers(information: dict[str, Any]) -> list[Layer]:
    """The layers in the engine inspector's JSON."""
    layers = []
    for entry in information.get("Layers", []):
        if isinstance(entry, str):  # the engine was built without layer details
            layers.append(Layer(entry, "other", bool(_CONVOLUTION.search(entry))))
            continue
        kind, name = str(entry.get("LayerType", "")).lower(), str(entry.get("Name", ""))
        if any(word in kind for word in _NOT_ARITHMETIC) or name.startswith("Reformatting"):
            continue
        # Fused layers have their own kinds; their metadata names the ONNX nodes they were made from.
        named = "conv" in kind or bool(_CONVOLUTION.search(f"{name} {entry.get('Metadata', '')}"))
        layers.append(Layer(name, _type(entry), named and not any(word in kind for word in _BETWEEN)))
    return layers


def _type(entry: dict[str, Any]) -> str:
    """The type of a layer's weights, else of its first input. Its output may be of a wider type."""
    weights = entry.get("Weights")
    texts = [weights.get("Type")] if isinstance(weights, dict) else []
    for tensor in (*entry.get("Inputs", []), *entry.get("Outputs", [])):
        texts.append(tensor.get("Datatype") or tensor.get("Format/Datatype"))
    words = (word for text in texts for word in re.findall(r"[a-z]+\d*", str(text).lower()))
    return next((_TYPES[word] for word in words if word in _TYPES), "other")


def convolution_kinds(trt: Any) -> tuple[Any, ...]:
    """The layer types of convolutions in a parsed network."""
    return trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION


def network_layers(trt: Any, network: Any) -> list[Layer]:
    """The layers of a parsed network. A strongly typed build keeps their types.

    A convolution of a dequantized tensor counts as int8, because the builder fuses the two.
    """
    names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
    convolutions = convolution_kinds(trt)
    arithmetic = (*convolutions, *(getattr(trt.LayerType, n) for n in ("MATRIX_MULTIPLY", "POOLING", "NORMALIZATION")))
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    dequantized = {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE}

    def precision(layer: Any) -> str:
        tensor = layer.get_input(0)
        int8 = layer.type in convolutions and tensor.name in dequantized
        return "int8" if int8 else names.get(tensor.dtype.name, "other")

    return [
        Layer(layer.name, precision(layer), layer.type in convolutions) for layer in layers if layer.type in arithmetic
    ]


def count_types(layers: list[Layer]) -> tuple[dict[str, int], dict[str, int]]:
    """How many layers compute in each type: all layers, then convolutions only."""
    convolutions = (layer for layer in layers if layer.convolution)
    return dict(Counter(layer.precision for layer in layers)), dict(Counter(layer.precision for layer in convolutions))


def check_precision(name: str, precision: str, convolutions: dict[str, int], float32_allowed: int = 0) -> None:
    """Raise ParityError if a float16 or bfloat16 engine has other convolutions, or an int8 engine has no int8 one.

    name: the engine, for the message. float32_allowed: convolutions that the bundle's stage keeps in float32. An int8
    engine may have more, because TensorRT has no int8 kernel for some shapes. If no type is known, nothing is checked.
    """
    if precision == "float32" or not convolutions or set(convolutions) == {"other"}:
        return
    none, more = not convolutions.get(precision), convolutions.get("float32", 0) > float32_allowed
    if (none and more) if precision == "int8" else (none or more):
        counts = ", ".join(f"{found} × {count}" for found, count in sorted(convolutions.items()))
        raise ParityError(f"{name}: the {precision} engine computes its convolutions in {counts}; it is not kept")

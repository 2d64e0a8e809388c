"""What an engine really computes in, layer by layer, and whether it may be called by its precision."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from infdet_deploy.errors import ParityError
from infdet_deploy.runtime.backends.tensorrt.options import Shape

# The words of the engine inspector, of all versions, by the type that they mean; longer names first.
_TYPES = (
    ("bfloat16", ("bf16", "bfloat16")),
    ("float16", ("fp16", "half", "float16")),
    ("float32", ("fp32", "float32", "float")),
    ("float8", ("fp8",)),
    ("int8", ("int8",)),
    ("int32", ("int32",)),
    ("int64", ("int64",)),
    ("uint8", ("uint8",)),
    ("bool", ("bool",)),
)
# Generated kernels between the convolutions may name in their metadata one whose padding or cast they took over.
_BETWEEN = ("kgen", "pointwise", "pooling", "reduce")
_NOT_ARITHMETIC = ("reformat", "constant", "noop", "shape", "signal", "wait")


@dataclass(frozen=True)
class Layer:
    """One layer: its name, the type that it computes in (`other` where not told), whether it is a convolution."""

    name: str
    precision: str
    convolution: bool


def engine_layers(
    trt: Any, engine: bytes, shapes: dict[str, tuple[Shape, Shape, Shape]], log: Any
) -> list[Layer] | None:
    """The layers that the engine inspector lists, at the profile's usual shapes, without which it tells no formats.

    None where this machine cannot load the engine.
    """
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        return None
    inspector = loaded.create_engine_inspector()
    context = loaded.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    for name, (_, usual, _) in shapes.items():
        context.set_input_shape(name, usual)
    inspector.execution_context = context
    return read_layers(json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON)))


def read_layers(information: dict[str, Any]) -> list[Layer]:
    """The layers in the engine inspector's JSON."""
    layers = []
    for entry in information.get("Layers", []):
        if isinstance(entry, str):  # the engine was built without layer details
            layers.append(Layer(entry, "other", bool(re.search(r"/Conv(Transpose)?(_\d+)?\b", entry))))
            continue
        kind, name = str(entry.get("LayerType", "")), str(entry.get("Name", ""))
        if any(word in kind.lower() for word in _NOT_ARITHMETIC) or name.startswith("Reformatting"):
            continue
        layers.append(Layer(name, _type(entry), _is_convolution(kind, name, str(entry.get("Metadata", "")))))
    return layers


def _is_convolution(kind: str, name: str, metadata: str) -> bool:
    # fused layers have kinds of their own; metadata names the ONNX nodes they were made from
    if any(word in kind.lower() for word in _BETWEEN):
        return False
    return "conv" in kind.lower() or bool(re.search(r"/Conv(Transpose)?(_\d+)?\b", f"{name} {metadata}"))


def _type(entry: dict[str, Any]) -> str:
    """The type of a layer's weights, else of its first input: what it multiplies. Its output may be of a wider type."""
    weights = entry.get("Weights")
    told = [weights.get("Type")] if isinstance(weights, dict) else []
    for tensor in (*entry.get("Inputs", []), *entry.get("Outputs", [])):
        told.append(tensor.get("Datatype") or tensor.get("Format/Datatype"))
    for text in told:
        words = set(re.findall(r"[a-z]+\d*", str(text).lower()))
        for name, spellings in _TYPES:
            if words & set(spellings):
                return name
    return "other"


def convolution_kinds(trt: Any) -> tuple[Any, ...]:
    """What a parsed network calls a convolution."""
    return trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION


def network_layers(trt: Any, network: Any) -> list[Layer]:
    """The layers of a parsed network, which a strongly typed build must keep in their types.

    A convolution of what has just been dequantised counts as int8: that is what the builder makes of the two.
    """
    names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
    convolutions = convolution_kinds(trt)
    arithmetic = (*convolutions, *(getattr(trt.LayerType, n) for n in ("MATRIX_MULTIPLY", "POOLING", "NORMALIZATION")))
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    dequantised = {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE}

    def computed(layer: Any) -> str:
        tensor = layer.get_input(0)
        int8 = layer.type in convolutions and tensor.name in dequantised
        return "int8" if int8 else names.get(tensor.dtype.name, "other")

    return [
        Layer(layer.name, computed(layer), layer.type in convolutions) for layer in layers if layer.type in arithmetic
    ]


def precisions(layers: list[Layer]) -> tuple[dict[str, int], dict[str, int]]:
    """How many layers compute in each type: of all, and of the convolutions."""
    return (
        dict(Counter(layer.precision for layer in layers)),
        dict(Counter(layer.precision for layer in layers if layer.convolution)),
    )


def check_label(what: str, precision: str, convolutions: dict[str, int], float32_allowed: int = 0) -> None:
    """Refuse an engine called float16 or bfloat16 whose convolutions are not, or called int8 of which none is.

    float32_allowed: convolutions that the bundle's stage keeps in float32. In int8 more may be, since TensorRT has no
    int8 kernel for some shapes; the report says how many. An inspector that tells no type at all refutes nothing; the
    report then says `other`. Raises ParityError.
    """
    if precision == "float32" or not convolutions or set(convolutions) == {"other"}:
        return
    none, more = not convolutions.get(precision), convolutions.get("float32", 0) > float32_allowed
    if (none and more) if precision == "int8" else (none or more):
        told = ", ".join(f"{name} × {count}" for name, count in sorted(convolutions.items()))
        raise ParityError(
            f"{what}: the engine called {precision} computes its convolutions in {told}; refusing to keep it"
        )

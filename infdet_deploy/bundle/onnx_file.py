"""What an ONNX file may contain, found without the onnx package and without reading weights.

A graph computes with tensors of its own file and with operators of the list below. None of these repeats a part of the
graph, chooses one, calls other code or opens a file.

An ONNX file is a protobuf message:
1. A message is a sequence of fields: a key (number × 8 + wire type, a varint), then the value.
2. Wire type 0 is a varint, 1 is 8 bytes, 5 is 4 bytes; 2 is a length and as many bytes: text, numbers or a message.
3. A tensor with external data has `external_data` (field 13) or a `data_location` (field 14) other than 0.
4. A node has its operator's name in field 4 and the operator's domain in field 7; ONNX's own domain is empty.

cpp/src/onnx_file.cpp makes the same checks.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from infdet_deploy.bundle.manifest import short

# Operators in our exports, and operators that other versions of the exporter may write for the same networks.
OPERATORS = frozenset({
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Concat",
    "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div", "Equal",
    "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual",
    "Identity", "InstanceNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "MaxPool",
    "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Sign", "Size", "Slice",
    "Softmax", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
DOMAINS = ("", "ai.onnx")

# For each kind of message that can contain nodes or tensors, except functions: the fields that lead to them → the kind
# of message in the field.
CONTENT = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}  # fmt: skip
FUNCTIONS = 25  # of ModelProto
OPERATOR, DOMAIN = 4, 7  # of NodeProto
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto
VARINT, BYTES = 0, 2
FIXED = {1: 8, 5: 4}  # wire type → bytes
_LONGEST_NAME = 100  # bytes of a name in a message


def fault(path: Path) -> str | None:
    """What an ONNX file has that it may not have, to follow its name in a message; None if nothing.

    Raises ValueError if the file is not a protobuf message with a graph.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _scan(data)


def _scan(data: mmap.mmap | bytes) -> str | None:
    graphs = 0
    pending = [("ModelProto", 0, len(data))]
    while pending:
        kind, start, stop = pending.pop()
        named = kind != "NodeProto"
        for number, wire, begin, end in _fields(data, start, stop):
            if kind == "NodeProto" and number in (OPERATOR, DOMAIN):
                if wire != BYTES:
                    raise ValueError(f"field {number} of {kind} has the wrong type")
                named = named or (number == OPERATOR and end > begin)
                name = data[begin : min(end, begin + _LONGEST_NAME)].decode("utf-8", "replace")
                if name not in (OPERATORS if number == OPERATOR else DOMAINS) and (number == DOMAIN or end > begin):
                    what = "the operator" if number == OPERATOR else "operators of the domain"
                    return f"uses {what} '{short(name)}', which no export contains"
            elif kind == "ModelProto" and number == FUNCTIONS:
                return "defines operators of its own (functions)"
            elif kind == "TensorProto" and (
                number == EXTERNAL_DATA or (number == DATA_LOCATION and _number(data, wire, begin, end))
            ):
                return "keeps tensors in another file (external data)"
            if inner := CONTENT[kind].get(number):
                if wire != BYTES:
                    raise ValueError(f"field {number} of {kind} has the wrong type")
                pending.append((inner, begin, end))
                graphs += inner == "GraphProto"
        if not named:
            return "has a node without operator"
    if not graphs:
        raise ValueError("it contains no graph")
    return None


def _number(data: mmap.mmap | bytes, wire: int, begin: int, end: int) -> int:
    """The number in a field; 1 if it is of another type."""
    return _varint(data, begin, end)[0] if wire == VARINT else 1


def _fields(data: mmap.mmap | bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in data[start:stop]: number, wire type, start and end of the value."""
    at = start
    while at < stop:
        key, at = _varint(data, at, stop)
        if not 8 <= key < 1 << 32:  # readers keep 32 bits and would see another field
            raise ValueError(f"no field has the key {key}, at byte {at}")
        wire = key & 7
        if wire == VARINT:
            end = _varint(data, at, stop)[1]
        elif wire == BYTES:
            length, at = _varint(data, at, stop)
            end = at + length
        elif wire in FIXED:
            end = at + FIXED[wire]
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if end > stop:
            raise ValueError(f"a value at byte {at} is longer than its message")
        yield key >> 3, wire, at, end
        at = end


def _varint(data: mmap.mmap | bytes, at: int, stop: int) -> tuple[int, int]:
    """The number at data[at:stop] and its end."""
    value = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                raise ValueError(f"a number too large at byte {at}")
            return value, at
        shift += 7
    raise ValueError(f"a number at byte {at} does not end")

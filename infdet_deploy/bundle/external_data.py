"""Find out whether an ONNX file stores tensors in other files, without the onnx package and without reading weights.

An ONNX file is a protobuf message:
1. A message is a sequence of fields: a key (number × 8 + wire type, a varint), then the value.
2. Wire type 0 is a varint, 1 is 8 bytes, 5 is 4 bytes; 2 is a length and as many bytes: text, numbers or a message.
3. A tensor with external data has `external_data` (field 13) or a `data_location` (field 14) other than 0.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

# For each kind of message that can contain tensors: the fields that lead to them → the kind of message in the field.
CONTENT = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto",
        22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}  # fmt: skip
EXTERNAL_DATA, DATA_LOCATION = 13, 14
VARINT, BYTES = 0, 2
FIXED = {1: 8, 5: 4}  # wire type → bytes


def has_external_data(path: Path) -> bool:
    """Whether any tensor of an ONNX file is stored in another file.

    Raises ValueError if the file is not a protobuf message with a graph.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _scan(data)


def _scan(data: mmap.mmap | bytes) -> bool:
    graphs = 0
    pending = [("ModelProto", 0, len(data))]
    while pending:
        kind, start, stop = pending.pop()
        for number, wire, begin, end in _fields(data, start, stop):
            if kind == "TensorProto" and number == EXTERNAL_DATA:
                return True
            if kind == "TensorProto" and number == DATA_LOCATION and (wire != VARINT or _varint(data, begin, end)[0]):
                return True
            if inner := CONTENT[kind].get(number):
                if wire != BYTES:
                    raise ValueError(f"field {number} of {kind} has the wrong type")
                pending.append((inner, begin, end))
                graphs += inner == "GraphProto"
    if not graphs:
        raise ValueError("it contains no graph")
    return False


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
            return value, at
        shift += 7
    raise ValueError(f"a number at byte {at} does not end")

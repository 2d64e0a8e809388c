"""Whether an ONNX file keeps tensors in other files, found without the onnx package.

An ONNX file is a protobuf message. Tensors can lie in any of its graphs; each says where its data are:
1. A message is a sequence of fields: a key (number × 8 + wire type, a varint), then the value.
2. Wire type 0 is a varint, 1 is 8 bytes, 5 is 4 bytes; 2 is a length and as many bytes: text, numbers, or a message.
3. A tensor with external data has `external_data` (field 13) or a `data_location` (field 14) other than 0.

Only keys and lengths are read, so the weights themselves are never touched.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

# For each kind of message that leads to tensors, the fields that do, and the kind of message in them.
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
EXTERNAL_DATA, DATA_LOCATION, GRAPH = 13, 14, 7
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


def has_external_data(path: Path) -> bool:
    """Whether any tensor of the ONNX file at `path` lies outside of it.

    Raises ValueError where the file is not a protobuf message with a graph, so that it cannot be told.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _scan(data)


def _scan(data: mmap.mmap | bytes) -> bool:
    graphs = 0
    ahead = [("ModelProto", 0, len(data))]
    while ahead:
        kind, start, stop = ahead.pop()
        for number, wire, begin, end in _fields(data, start, stop):
            if kind == "TensorProto" and (
                number == EXTERNAL_DATA
                or (number == DATA_LOCATION and (wire != VARINT or _varint(data, begin, end)[0]))
            ):
                return True
            inner = CONTENT[kind].get(number)
            if inner and wire != BYTES:
                raise ValueError(f"field {number} of {kind} has the wrong type")
            if inner:
                ahead.append((inner, begin, end))
                graphs += inner == "GraphProto"
    if not graphs:
        raise ValueError("it holds no graph")
    return False


def _fields(data: mmap.mmap | bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in data[start:stop]: number, wire type, where the value begins and ends."""
    at = start
    while at < stop:
        key, at = _varint(data, at, stop)
        if not 8 <= key < 1 << 32:  # readers keep 32 bits, and would see another field
            raise ValueError(f"no field has the key {key}, at byte {at}")
        wire, end = key & 7, at
        if wire == VARINT:
            _, end = _varint(data, at, stop)
        elif wire == BYTES:
            length, at = _varint(data, at, stop)
            end = at + length
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            end = at + (8 if wire == EIGHT_BYTES else 4)
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if end > stop:
            raise ValueError(f"a value at byte {at} is longer than what holds it")
        yield key >> 3, wire, at, end
        at = end


def _varint(data: mmap.mmap | bytes, at: int, stop: int) -> tuple[int, int]:
    """The number at data[at:stop], and where it ends."""
    value = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError(f"a number at byte {at} does not end")

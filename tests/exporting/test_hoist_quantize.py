"""Quantizing before values are moved: the same numbers bit by bit, and no other graph is changed."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from infdet_deploy.exporting.hoist_quantize import hoist_quantize
from infdet_deploy.exporting.quantization import open_session

CLIP = np.random.default_rng(1).integers(0, 256, (6, 5, 5), np.uint8)


def pair(tensor, out):
    """Quantised and dequantised."""
    return [
        helper.make_node("QuantizeLinear", [tensor, "step", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], [out], "d"),
    ]


def graph(step=1.0, zero=np.uint8(0), masked=False, between=None, also=False, twice=False):
    """Frames side by side in the channels, as a tower's first layer takes them, quantised, then a convolution.

    masked: some frames are 0, before anything is moved. between: an operator more, at the end of the way; also: the
    padded frames are an output too; twice: what is moved came from bytes already.
    """
    constants = {
        "axis": np.array([1]), "time": np.array([1, 0, 0, 0, 1, 0, 0, 0]), "space": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "level": np.float32(127.5), "one": np.float32(1), "first": np.array([0]), "second": np.array([1]),
        "last": np.array([7]), "end": np.array([8]), "step": np.float32(step), "zero": np.array(zero),
        "mask": np.array([1, 1, 0, 1, 1, 0], np.float32)[:, None, None],
        "weight": np.random.default_rng(2).normal(size=(3, 2, 3, 3)).astype(np.float32),
    }  # fmt: skip
    moved = "rounded" if twice else "inside" if masked else "levels"
    nodes = [
        helper.make_node("Cast", ["frames"], ["levels"], "cast", to=TensorProto.FLOAT),
        *([helper.make_node("Mul", ["levels", "mask"], ["inside"], "mask")] if masked else []),
        *(pair("inside", "rounded") if twice else []),
        helper.make_node("Unsqueeze", [moved, "axis"], ["grey"], "unsqueeze"),
        helper.make_node("Pad", ["grey", "time", "level"], ["padded"], "pad"),
        helper.make_node("Slice", ["padded", "first", "last", "first"], ["now"], "now"),
        helper.make_node("Slice", ["padded", "second", "end", "first"], ["next"], "next"),
        helper.make_node("Concat", ["now", "next"], ["joined"], "concat", axis=1),
        helper.make_node("Pad", ["joined", "space", "level"], ["wide"], "wide"),
        *([helper.make_node(between, ["wide", "one"], ["changed"], "between")] if between else []),
        helper.make_node("QuantizeLinear", ["changed" if between else "wide", "step", "zero"], ["small"], "quantise"),
        helper.make_node("DequantizeLinear", ["small", "step", "zero"], ["back"], "dequantise"),
        helper.make_node("Conv", ["back", "weight"], ["out"], "conv"),
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [7, 3, 5, 5])]
    if also:
        outputs.append(helper.make_tensor_value_info("padded", TensorProto.FLOAT, [8, 1, 5, 5]))
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [6, 5, 5])
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "tower", [frames], outputs, held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_same_numbers():
    model = graph()
    (expected,) = open_session(model).run(["out"], {"frames": CLIP})
    hoist_quantize(model)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Unsqueeze", "Pad", "Slice", "Slice", "Concat", "Pad", "DequantizeLinear", "Conv"]
    (found,) = open_session(model).run(["out"], {"frames": CLIP})
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("other", "operators"),
    [
        ({"step": 2.0}, ["Cast", "QuantizeLinear", "Unsqueeze"]),
        ({"zero": np.int8(0)}, ["Cast", "QuantizeLinear", "Unsqueeze"]),
        ({"masked": True}, ["Cast", "Mul", "QuantizeLinear", "Unsqueeze"]),
    ],
    ids=str,
)
def test_numbers_are_quantized_before_they_are_moved(other, operators):
    model = graph(**other)
    (expected,) = open_session(model).run(["out"], {"frames": CLIP})
    hoist_quantize(model)
    onnx.checker.check_model(model, full_check=True)
    found = [node.op_type for node in model.graph.node]
    assert found == [*operators, "Pad", "Slice", "Slice", "Concat", "Pad", "DequantizeLinear", "Conv"]
    (small,) = open_session(model).run(["out"], {"frames": CLIP})
    assert np.array_equal(small, expected)


@pytest.mark.parametrize(
    "other", [{"between": "Mul"}, {"also": True}, {"zero": np.uint8(3)}, {"masked": True, "twice": True}], ids=str
)
def test_other_graphs_stay(other):
    model = graph(**other)
    before = model.SerializeToString()
    hoist_quantize(model)
    assert model.SerializeToString() == before


def test_bytes_that_are_cast_and_nothing_else_stay_bytes():
    nodes = [
        helper.make_node("Cast", ["frames"], ["levels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["levels", "step", "zero"], ["quantised"], "quantise"),
        helper.make_node("DequantizeLinear", ["quantised", "step", "zero"], ["out"], "dequantise"),
    ]
    ends = (
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [3])],
    )
    one = [numpy_helper.from_array(np.float32(1), "step"), numpy_helper.from_array(np.uint8(0), "zero")]
    model = helper.make_model(helper.make_graph(nodes, "g", *ends, one), opset_imports=[helper.make_opsetid("", 20)])
    hoist_quantize(model)
    onnx.checker.check_model(model)
    assert [(node.name, node.input[0]) for node in model.graph.node] == [("dequantise", "frames")]

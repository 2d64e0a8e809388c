"""The engine inspector's output in several TensorRT versions, and the check of an engine's precision."""

import pytest

from infdet_deploy.errors import ParityError
from infdet_deploy.runtime.backends.tensorrt.inspect import Layer, check_precision, count_types, read_layers


def convolution(dtype: str, **others) -> dict:
    return {"Name": "a", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": dtype}]} | others


@pytest.mark.parametrize(
    ("entry", "precision"),
    [
        (convolution("Row major linear FP32"), "float32"),
        (convolution("Channel major FP16 format where channel % 8 == 0"), "float16"),
        (convolution("Half(64,1:8,16)"), "float16"),
        (convolution("Thirty-two wide channel vectorized row major Int8 format."), "int8"),
        (convolution("BFloat16"), "bfloat16"),
        (convolution("N/A due to dynamic shapes", Weights={"Type": "Half", "Count": 9408}), "float16"),
        (convolution("Float", Weights={"Type": "Half", "Count": 9408}), "float16"),
        (convolution("N/A due to dynamic shapes", Outputs=[{"Datatype": "Float"}]), "float32"),
        (convolution("N/A due to dynamic shapes"), "other"),
    ],
)
def test_layer_type(entry, precision):
    assert read_layers({"Layers": [entry]}) == [Layer("a", precision, True)]


def test_convolutions_among_fused_layers():
    fused = {
        "Name": "fused_1",
        "LayerType": "gemm",
        "Metadata": "[ONNX Layer: fen/conv1/Conv]\x1e[ONNX Layer: fen/Relu]",
    }
    product = {"Name": "head/fc1/Gemm", "LayerType": "gemm", "Metadata": "[ONNX Layer: head/fc1/Gemm]"}
    moved = {"Name": "Reformatting CopyNode for Input Tensor 0 to fen/conv1/Conv", "LayerType": "Reformat"}
    between = fused | {"Name": "kgen_2", "LayerType": "kgen"}
    layers = read_layers({"Layers": [fused, between, product, moved, "fen/layer1/0/Conv_2 + fen/Relu"]})
    assert [(layer.name, layer.convolution) for layer in layers] == [
        ("fused_1", True),
        ("kgen_2", False),
        ("head/fc1/Gemm", False),
        ("fen/layer1/0/Conv_2 + fen/Relu", True),
    ]
    assert read_layers({}) == []


def test_count_types():
    layers = [Layer("a", "float16", True), Layer("b", "float32", False), Layer("c", "float16", False)]
    assert count_types(layers) == ({"float16": 2, "float32": 1}, {"float16": 1})


def test_precision_check_of_float16():
    check_precision("fen", "float16", {"float16": 16})
    check_precision("fen", "float32", {"float32": 16})
    check_precision("head", "float16", {})
    check_precision("tower", "float16", {"float16": 56, "float32": 1}, float32_allowed=1)
    check_precision("tower", "float16", {"other": 57})  # no type is known
    for convolutions in ({"float32": 57}, {"float16": 55, "float32": 2}, {"other": 50, "float32": 1}):
        with pytest.raises(ParityError, match="tower: the float16 engine computes its convolutions in"):
            check_precision("tower", "float16", convolutions, float32_allowed=1)


def test_precision_check_of_bfloat16_and_int8():
    check_precision("fen", "bfloat16", {"bfloat16": 16})
    for convolutions in ({"float32": 16}, {"float16": 16}, {"bfloat16": 15, "float32": 1}):
        with pytest.raises(ParityError, match="fen: the bfloat16 engine computes its convolutions in"):
            check_precision("fen", "bfloat16", convolutions)
    check_precision("tower", "int8", {"int8": 57})
    check_precision("tower", "int8", {"int8": 50, "float32": 7}, float32_allowed=2)  # shapes without an int8 kernel
    check_precision("head", "int8", {"float32": 8}, float32_allowed=15)
    with pytest.raises(ParityError, match=r"tower: the int8 engine computes its convolutions in float32 × 57"):
        check_precision("tower", "int8", {"float32": 57}, float32_allowed=2)

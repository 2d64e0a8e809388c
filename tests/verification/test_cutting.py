"""Tensors of two exports of a stage are matched, also when the older one has other names."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper

from infdet_deploy.verification.cutting import StageGraph


def graph(path, nodes):
    """nodes: name → inputs; the operator is the name's last part without its number."""
    made = []
    for name, inputs in nodes.items():
        operator = name.rpartition("/")[2].partition("_")[0]
        made.append(helper.make_node(operator, inputs, [name.rpartition("head/")[2]], name))
    weights = {"kernel": (2, 2, 1), "weight": (3, 4), "bias": (4,)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 3])
    y = helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, None)
    tensors = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    model = helper.make_model(helper.make_graph(made, "g", [x], [y], tensors))
    onnx.save(model, str(path))
    return StageGraph(path)


OLD = {
    "head/Relu": ["x"],
    "head/classifiers/0/Conv": ["Relu", "kernel"],
    "head/classifiers/0/Relu": ["classifiers/0/Conv"],
    "head/classifiers/0/Squeeze": ["classifiers/0/Relu"],
    "head/classifiers/0/Relu_2": ["classifiers/0/Squeeze"],
    "head/classifiers/0/hidden/Gemm": ["classifiers/0/Relu_2", "weight", "bias"],
    "head/Sigmoid_2": ["classifiers/0/hidden/Gemm"],
}
NEW = {
    "head/fusion/Relu": ["x"],
    "head/classifiers/0/sub_event1/Conv": ["fusion/Relu", "kernel"],
    "head/classifiers/0/sub_event2/Relu": ["classifiers/0/sub_event1/Conv"],
    "head/classifiers/0/Relu": ["classifiers/0/sub_event2/Relu"],
    "head/classifiers/0/hidden/MatMul": ["classifiers/0/Relu", "weight"],
    "head/classifiers/0/hidden/Add": ["classifiers/0/hidden/MatMul", "bias"],
    "head/Sigmoid": ["classifiers/0/hidden/Add"],
}


def test_an_old_head_is_matched_with_a_new_one(tmp_path):
    old, new = graph(tmp_path / "old.onnx", OLD), graph(tmp_path / "new.onnx", NEW)
    assert old.pairs(new) == {
        "Relu": "fusion/Relu",
        "classifiers/0/Conv": "classifiers/0/sub_event1/Conv",
        "classifiers/0/Relu": "classifiers/0/sub_event2/Relu",
        "classifiers/0/Relu_2": "classifiers/0/Relu",
        "classifiers/0/hidden/Gemm": "classifiers/0/hidden/Add",
        "Sigmoid_2": "Sigmoid",
    }
    assert old.ranks["classifiers/0/hidden/Gemm"] == 2
    same = {name.removeprefix("head/") for name in NEW}
    assert new.pairs(new) == dict(zip(same, same, strict=True))

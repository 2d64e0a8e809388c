"""A hand-made bundle of one stream that runs, of a few kilobytes; its infrared tower may be replaced."""

from pathlib import Path

import numpy as np

from infdet_deploy.bundle.manifest import FORMAT, write_manifest
from infdet_deploy.bundle.onnx_file import OPERATORS
from infdet_deploy.files import sha256

SIZE, FRAMES, FEATURES, CLASSES = 32, 16, 8, 2


def tower(*before, constants=()):
    """The tower's graph: the mean of every frame, 8 frames a feature, without the last feature.

    before: nodes that make `pixels` from `bytes`, float32 [T, S, S]; default: all of them.
    """
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node("Cast", ["frames"], ["bytes"], to=TensorProto.FLOAT),
        *(before or [helper.make_node("Identity", ["bytes"], ["pixels"])]),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Reshape", ["means", "eights"], ["all"]),
        helper.make_node("Slice", ["all", "first", "last"], ["features"]),
    ]
    sizes = {"axes": [1, 2], "eights": [-1, FEATURES], "first": [0], "last": [-1]}
    arrays = {name: np.array(value, np.int64) for name, value in sizes.items()} | dict(constants)
    graph = helper.make_graph(
        made, "infrared_tower",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["T", SIZE, SIZE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["T'", FEATURES])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def head():
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((FEATURES, CLASSES), 1e-3, np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["infrared_features", "weights"], ["sums"]),
         helper.make_node("Sigmoid", ["sums"], ["scores"])],
        "head",
        [helper.make_tensor_value_info("infrared_features", TensorProto.FLOAT, ["T'", FEATURES]),
         helper.make_tensor_value_info("length", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["T'", CLASSES])],
        [weights],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_running_bundle(folder: Path, infrared_tower=None) -> Path:
    """The golden clip is that of the default tower."""
    folder.mkdir()
    for name, model in (("infrared_tower", infrared_tower or tower()), ("head", head())):
        assert {node.op_type for node in model.graph.node} <= OPERATORS
        (folder / f"{name}.float32.onnx").write_bytes(model.SerializeToString())
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE, SIZE), np.uint8)
    features = frames.mean((1, 2)).astype(np.float32).reshape(-1, FEATURES)[:-1]
    scores = 1 / (1 + np.exp(-features @ np.full((FEATURES, CLASSES), 1e-3, np.float32)))
    length = np.array([FRAMES // 8], np.int64)
    np.savez(folder / "golden.npz", frames=frames, infrared_features=features, length=length, scores=scores)

    def spec(name: str, dtype: str, *shape: int | str) -> dict[str, object]:
        return {"name": name, "dtype": dtype, "shape": list(shape)}

    features_spec = spec("infrared_features", "float32", "T'", FEATURES)
    stages = {
        "infrared_tower": ([spec("frames", "uint8", "T", SIZE, SIZE)], [spec("features", "float32", "T'", FEATURES)]),
        "head": ([features_spec, spec("length", "int64", 1)], [spec("scores", "float32", "T'", CLASSES)]),
    }
    manifest = {
        "format": FORMAT, "name": "running", "made_by": {},
        "model": {"classes": ["drop", "hug"], "size": SIZE, "streams": "infrared", "task": "detection"},
        "preprocessing": {"size": SIZE, "mode": "resize"},
        "classes": ["drop", "hug"], "rule": {"thresholds": [0.25, 0.5], "mean_duration_s": [1.5, 2.0]},
        "stages": {
            name: {"inputs": inputs, "outputs": outputs, "files": {"onnx": {"float32": f"{name}.float32.onnx"}}}
            for name, (inputs, outputs) in stages.items()
        },
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())
        },
    }  # fmt: skip
    write_manifest(folder, manifest)
    return folder

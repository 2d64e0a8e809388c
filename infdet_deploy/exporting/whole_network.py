"""Joining the stages' ONNX files into one graph, frames in and scores out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.compose import add_prefix_graph

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.schema import StageSpec, TensorSpec
from infdet_deploy.snippets import FRAMES_PER_SNIPPET

# (stage, input) → the tensor that feeds it; all other inputs are the network's, `frames` and `length`.
_FROM = {
    ("flow_tower", "flow"): "whole_flow",
    ("head", "infrared_features"): "infrared_tower/features",
    ("head", "flow_features"): "flow_tower/features",
}


def join_stages(files: Mapping[str, Path], specs: Mapping[str, StageSpec], path: Path) -> None:
    """Write `network` to `path` from its stages' files, all in one precision.

    files: by stage, in pipeline order. specs: of the stages and of `network`. Node names start with network/STAGE/. A
    clip's last frame has no next frame, so its flow is zero.
    """
    nodes = [_node("Shape", ["frames"], "frame_count", start=0, end=1)]
    nodes.append(_node("Div", ["frame_count", "frames_per_snippet"], "length"))  # ⌊T/8⌋
    constants = [numpy_helper.from_array(np.array([FRAMES_PER_SNIPPET]), "frames_per_snippet")]
    for stage, file in files.items():
        model = onnx.load(str(file))
        graph = add_prefix_graph(model.graph, f"{stage}/", rename_nodes=False, inplace=True)
        names = {f"{stage}/{i.name}": _FROM.get((stage, i.name), i.name) for i in specs[stage].inputs}
        if stage == "head":
            names["head/scores"] = "scores"
        for node in graph.node:
            node.name = f"{NETWORK}/{node.name}"
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        nodes += graph.node
        constants += graph.initializer
        if stage == "fen":
            shape = [n for n in specs["flow_tower"].inputs[0].shape if isinstance(n, int)]
            constants.append(numpy_helper.from_array(np.zeros((1, *shape), np.float32), "zero_flow"))
            nodes.append(_node("Concat", ["fen/flow", "zero_flow"], "whole_flow", axis=0))
    graph = helper.make_graph(
        nodes, NETWORK, _values(specs[NETWORK].inputs), _values(specs[NETWORK].outputs), constants
    )
    joined = helper.make_model(
        graph, producer_name="infdet-deploy", ir_version=model.ir_version, opset_imports=model.opset_import
    )
    onnx.checker.check_model(joined)
    onnx.save(joined, str(path))


def _node(operator: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=f"{NETWORK}/{output}", **attributes)  # type: ignore[arg-type]


def _values(tensors: tuple[TensorSpec, ...]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(t.name, helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape)
        for t in tensors
    ]

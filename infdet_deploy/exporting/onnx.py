"""A stage as ONNX, with dynamic T and readable node names."""

import io
import logging
import warnings
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer
from torch import Tensor, nn

from infdet_deploy.bundle.schema import StageSpec, TensorSpec
from infdet_deploy.errors import ParityError

EXAMPLE_FRAMES = 32  # length of the clips that graphs are traced with
OPSET = 20  # supported by OpenVINO, ONNX Runtime and TensorRT 10 and 11


def export_onnx(
    name: str, stage: nn.Module, spec: StageSpec, example: tuple[Tensor | tuple[Tensor, ...], ...], path: Path
) -> None:
    """Write stage `name` to `path`, for any T. Node names are STAGE/MODULE/OPERATOR.

    example: the stage's arguments: the inputs of `spec` in order, some of them grouped in a tuple.
    """
    # Only the head computes with the clip's length, in masks and means over time. The other stages have the same graph
    # at any length, and tracing fixed sizes is faster than symbolic ones.
    shapes = tuple(map(_varying, spec.inputs)) if name == "head" else None
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            stage,
            example,
            dynamo=True,
            input_names=[i.name for i in spec.inputs],
            output_names=[o.name for o in spec.outputs],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        model = _optimized(program.model)
    _tidy(model, name, spec)
    if shapes is None:
        _check_any_length(model, name)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _optimized(model: onnx_ir.Model) -> onnx.ModelProto:
    """The model as `torch.onnx.export(optimize=True)` writes it, in half the time.

    Four fifths of the nodes of an incremental tower compute constants. Removing them first leaves few nodes for the
    slow part: matching the rewrite rules.
    """
    optimizer.fold_constants(model)
    for cleanup in (common.CommonSubexpressionEliminationPass(), common.RemoveUnusedNodesPass()):
        cleanup(model)
    optimizer.optimize_ir(model)
    common.DeduplicateInitializersPass()(model)
    return onnx_ir.to_proto(model)


def _varying(tensor: TensorSpec) -> dict[int, Any]:
    """The dimensions of an input that vary, by axis."""
    return {axis: torch.export.Dim("s") for axis, size in enumerate(tensor.shape) if isinstance(size, str)}


def _check_any_length(model: onnx.ModelProto, name: str) -> None:
    """Raise ParityError when an output's length is fixed to the example's."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    for value in free.graph.output:
        value.type.tensor_type.ClearField("shape")
    for inferred, value in zip(onnx.shape_inference.infer_shapes(free).graph.output, model.graph.output, strict=True):
        pairs = zip(inferred.type.tensor_type.shape.dim, value.type.tensor_type.shape.dim, strict=False)
        if any(expected.dim_param and found.HasField("dim_value") for found, expected in pairs):
            raise ParityError(f"{name}: {value.name} is as long as the example, not as the clip; refusing to write it")


def _tidy(model: onnx.ModelProto, stage: str, spec: StageSpec) -> None:
    """Name nodes after their modules and dimensions after the specification; drop metadata that names source files."""
    used: Counter[str] = Counter()
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
        parts = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        # scopes are nested paths: the second to last is the module, the last the operation
        module = parts[-2].replace(".", "/") if len(parts) > 1 else ""
        module = module.removeprefix("_empty_nn_module_stack_from_metadata_hook")
        module = "/".join(part for part in module.split("/") if part not in ("", "stages", "tower"))
        base = "/".join(filter(None, (stage, module, node.op_type)))
        used[base] += 1
        node.name = base if used[base] == 1 else f"{base}_{used[base]}"
        del node.metadata_props[:]
        node.doc_string = ""
    for values, specs in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        for value, tensor in zip(values, specs, strict=True):
            for dimension, size in zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True):
                if isinstance(size, str):
                    dimension.dim_param = size
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    model.graph.name, model.producer_name, model.producer_version = stage, "infdet-deploy", ""

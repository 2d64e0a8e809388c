"""Faults planted in a bundle's ONNX stages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.bundle.manifest import write_manifest
from infdet_deploy.files import sha256


def rehash(bundle: Path, file: str) -> None:
    """Update a changed file's entry in the manifest."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][file] = {"bytes": (bundle / file).stat().st_size, "sha256": sha256(bundle / file)}
    write_manifest(bundle, manifest)


def change_graph(bundle: Path, file: str, change: Callable[[Any], None]) -> None:
    """Apply `change` to the ONNX graph of a bundle's file."""
    import onnx

    model = onnx.load(str(bundle / file))
    change(model.graph)
    onnx.save(model, str(bundle / file))
    rehash(bundle, file)


def keep_float32_onnx(bundle: Path) -> None:
    """Remove every other file of the stages from the bundle."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    for stage in manifest["stages"].values():
        kept = stage["files"]["onnx"]["float32"]
        for name in {name for files in stage["files"].values() for name in files.values()} - {kept}:
            (bundle / name).unlink()
            del manifest["files"][name]
        stage["files"] = {"onnx": {"float32": kept}}
    manifest["parity"] = {"float32": manifest["parity"]["float32"]}
    write_manifest(bundle, manifest)


def node_of(graph: Any, name: str) -> Any:
    (node,) = (node for node in graph.node if node.name == name)
    return node


def overflow_weight(graph: Any, node: str) -> None:
    """A node's weight, too large for float16, cast to it: the largest values become infinite."""
    import onnx

    (weight,) = (i for i in graph.initializer if i.name == node_of(graph, node).input[1])
    values = onnx.numpy_helper.to_array(weight).astype(np.float32)
    with np.errstate(over="ignore"):
        cast = (values * (1e5 / np.abs(values).max())).astype(np.float16)
    assert np.isinf(cast).any()
    weight.CopyFrom(onnx.numpy_helper.from_array(cast, weight.name))


def set_pads(graph: Any, node: str, pads: list[int]) -> None:
    """Another padding for a convolution."""
    (attribute,) = (a for a in node_of(graph, node).attribute if a.name == "pads")
    assert list(attribute.ints) != pads
    attribute.ints[:] = pads


def poison_bias(graph: Any, ending: str) -> None:
    """NaN in the bias whose name has this suffix."""
    import onnx

    (bias,) = (i for i in graph.initializer if i.name.endswith(ending))
    values = onnx.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), bias.name))

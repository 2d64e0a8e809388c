"""A hand-made bundle of a few hundred bytes that passes load_bundle but cannot run."""

from pathlib import Path
from typing import Any

from infdet_deploy.bundle.manifest import FORMAT, write_manifest
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.files import sha256

# ModelProto: ir_version 8, a graph called "g" with nothing in it.
EMPTY_ONNX = bytes([0x08, 8, 0x3A, 3, 0x12, 1, 0x67])


def small_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest of `folder` is to say, with the files that lie there now."""
    tensor = {"name": "x", "dtype": "float32", "shape": ["T", 3]}
    return {
        "format": FORMAT,
        "name": "small",
        "made_by": {"infdet-deploy": "0.1.0"},
        "model": {"classes": ["drop", "hug"], "size": 64, "streams": "both", "task": "detection"},
        "preprocessing": {"size": 64, "mode": "resize", "dtype": "uint8", "channels": 1},
        "classes": ["drop", "hug"],
        "rule": {"thresholds": [0.25, 0.5], "mean_duration_s": [1.5, 2.0], "split_long": False},
        "stages": {
            stage: {
                "inputs": [tensor],
                "outputs": [tensor],
                "files": {
                    "onnx": {"float32": f"{stage}.float32.onnx"},
                    "torchscript": {"float32": f"{stage}.float32.pt"},
                },
            }
            for stage in STAGES
        },
        "parity": {"float32": {stage: {"onnx": 1e-6} for stage in STAGES}},
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
            for file in sorted(folder.iterdir())
            if file.name != "manifest.json"
        },
    }


def write_small_bundle(folder: Path) -> Path:
    folder.mkdir()
    for stage in STAGES:
        (folder / f"{stage}.float32.onnx").write_bytes(EMPTY_ONNX)
        (folder / f"{stage}.float32.pt").write_bytes(stage.encode())
    write_manifest(folder, small_manifest(folder))
    return folder

"""Adds int8 stages to a float32 bundle in seconds: quantizes every layer, without accuracy checks."""

from pathlib import Path

import onnx

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, read_manifest
from infdet_deploy.bundle.schema import stream_stage
from infdet_deploy.exporting.bundle_draft import seal
from infdet_deploy.exporting.int8.calibration import stage_tensors
from infdet_deploy.exporting.int8.quantization import INT8_FILES, CalibratedGraph, calibrate, quantize, transfer_scales
from infdet_deploy.exporting.int8.write_incremental import incremental_3d_graph
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.compiled_stages import open_bundle_stage
from infdet_deploy.video.sample import sample_frames


def add_int8(path: Path, network: InfDetNet) -> None:
    """Add int8 for OpenVINO to the bundle at `path`, which must contain incremental towers."""
    bundle = load_bundle(path)
    runners = {name: open_bundle_stage(bundle, name, "openvino", "float32") for name in bundle.stages}
    seen = stage_tensors(runners, [sample_frames(24, bundle.size, seed=s) for s in (0, 1)])
    for runner in runners.values():
        runner.close()
    manifest = read_manifest(path)

    _, openvino = INT8_FILES

    def write(graph: CalibratedGraph, name: str, files: dict[str, dict[str, str]]) -> None:
        onnx.save(quantize(graph, unsigned=openvino.unsigned), str(path / openvino.name(name)))
        files["openvino"] = {"int8": openvino.name(name)}

    for name in bundle.stages:
        whole = calibrate(onnx.load(str(path / f"{name}.float32.onnx")), seen[name])
        write(whole, name, manifest["stages"][name]["files"])
        if (steps := stream_stage(name)) in manifest["stream"]["stages"]:
            graph = transfer_scales(whole, incremental_3d_graph(path, name, network))
            write(graph, steps, manifest["stream"]["stages"][steps]["files"])
    (path / MANIFEST).unlink()  # not one of the files that it lists
    seal(path, manifest)

"""int8 stages and steps beside a bundle's float32 ones, in seconds: every layer, judged by nothing."""

from pathlib import Path

import onnx

from infdet_deploy.bundle.loading import load_bundle, stream_stage
from infdet_deploy.bundle.manifest import MANIFEST
from infdet_deploy.exporting.bundle import seal
from infdet_deploy.exporting.calibration import stage_tensors
from infdet_deploy.exporting.int8 import Plan, carry, insert, plan
from infdet_deploy.exporting.int8_bundle import int8_file
from infdet_deploy.exporting.int8_stream import steps_in_3d
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.stages import open_bundle_stage
from infdet_deploy.video.sample import sample_frames


def add_int8(path: Path, network: InfDetNet) -> None:
    """Complete the network's bundle at `path`, which holds its towers as steps too, with int8 for OpenVINO."""
    bundle = load_bundle(path)
    runners = {name: open_bundle_stage(bundle, name, "openvino", "float32") for name in bundle.stages}
    seen = stage_tensors(runners, [sample_frames(24, bundle.size, seed=s) for s in (0, 1)])
    for runner in runners.values():
        runner.close()
    manifest = {key: value for key, value in bundle.manifest.items() if key != "sha256"}

    def write(calibrated: Plan, name: str, files: dict[str, dict[str, str]]) -> None:
        onnx.save(insert(calibrated, calibrated.layers, unsigned=True), str(path / int8_file(name, "openvino")))
        files["openvino"] = {"int8": int8_file(name, "openvino")}

    for name in bundle.stages:
        whole = plan(onnx.load(str(path / f"{name}.float32.onnx")), seen[name])
        write(whole, name, manifest["stages"][name]["files"])
        if (steps := stream_stage(name)) in manifest["stream"]["stages"]:
            write(carry(whole, steps_in_3d(path, name, network)), steps, manifest["stream"]["stages"][steps]["files"])
    (path / MANIFEST).unlink()  # not one of the files that it lists
    seal(path, manifest)

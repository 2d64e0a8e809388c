"""Steps in bfloat16, float16 and int8: features of a clip that arrives bit by bit against the network's."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from infdet_deploy.agreement import compare, tolerance
from infdet_deploy.errors import ParityError
from infdet_deploy.export.bundle import eager_tensors
from infdet_deploy.export.int8 import plan
from infdet_deploy.export.int8_stream import add_int8_stream
from infdet_deploy.export.onnx import export_onnx
from infdet_deploy.export.sensitivity import Int8Stage
from infdet_deploy.export.stages import build_stage, stage_specs
from infdet_deploy.export.stream_bundle import add_stream
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.bundle import Bundle
from infdet_deploy.runtime.stream import StreamModel
from infdet_deploy.video.sample import sample_frames
from tests.engines.judge import built_for_rtx

TOWER = "infrared_tower"
KEPT = f"{TOWER}/Mixed_4c/b1b/Conv"  # an int8 tower may have any layer in float32
CLIPS = (20, 64)


@pytest.fixture(scope="module")
def clips():
    config = dataclasses.replace(preset("tiny"), channel_divisor=8, streams="infrared", fusion="none")
    network = random_network(config, seed=5)
    return network, [eager_tensors(network, sample_frames(t, 64, seed=t)) for t in CLIPS]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, clips):
    """The infrared tower alone, as steps in every precision, and whole in int8."""
    network, checks = clips
    folder = tmp_path_factory.mktemp("precisions")
    manifest = {
        "model": {"streams": "infrared"},
        "preprocessing": {"size": 64},
        "stages": {TOWER: {}},
        "parity": {precision: {} for precision in ("float32", "bfloat16", "float16", "int8")},
    }
    add_stream(folder, manifest, network, {p: {} for p in ("float32", "bfloat16", "float16")}, checks, lambda _: None)
    spec, file = stage_specs(network)[TOWER], folder / f"{TOWER}.float32.onnx"
    stage = build_stage(TOWER, network, torch.float32)
    export_onnx(TOWER, stage, spec, (torch.from_numpy(sample_frames(32, 64)),), file)
    seen = [{"frames": sample_frames(64, 64, seed=s)} for s in (1, 2)]
    whole = Int8Stage(plan(onnx.load(str(file)), seen), (KEPT,), [check[TOWER] for check in checks])
    whole.kept = {"onnxruntime": [KEPT], "openvino": []}
    for backend, form in (("onnxruntime", "int8"), ("openvino", "int8.openvino")):
        whole.write_keeping(backend, folder / f"{TOWER}.{form}.onnx", whole.kept[backend])
    add_int8_stream(folder, manifest, {TOWER: whole}, lambda _: None)
    return Bundle(folder, manifest), whole


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("openvino", "bfloat16"),
        *((backend, precision) for backend in ("openvino", "onnxruntime") for precision in ("float16", "int8")),
    ],
)
def test_features_of_the_whole_clip(bundle, clips, backend, precision):
    with StreamModel(bundle[0], backend, precision, step_frames=16) as model:
        for tensors in clips[1]:
            stream, frames = model.stream(), tensors[TOWER]["frames"]
            parts = [stream.push(frames[at : at + 13]) for at in range(0, len(frames), 13)] + [stream.flush()]
            ours = np.concatenate([part["infrared_features"] for part in parts])
            error = compare(ours, tensors[TOWER]["features"]).relative_l2
            assert 1e-5 < error <= tolerance("onnx", precision)  # below, it were float32


def test_int8_steps_are_the_int8_tower(bundle):
    entry = bundle[0].manifest["parity"]["int8"][f"{TOWER}_stream"]
    assert (entry["operators"], entry["operators_openvino"]) == ({"int8": 56, "float32": 1}, {"int8": 57})
    assert entry["float32_layers"] == {"onnx": [KEPT.replace(TOWER, f"{TOWER}_stream")], "openvino": []}
    assert max(entry["onnx"], entry["openvino"]) <= 5e-2
    # the same scales: what is left are values that lie between two steps, which the two graphs round apart
    assert max(entry["from_whole"].values()) <= 1e-2


def test_int8_steps_that_are_wrong_are_refused(bundle, tmp_path, clips):
    held, whole = bundle
    for file in held.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    scales = {name: 0.1 * scale for name, scale in whole.plan.scales.items()}
    wrong = dataclasses.replace(whole, plan=dataclasses.replace(whole.plan, scales=scales))
    with pytest.raises(ParityError, match=f"{TOWER}_stream int8: relative L2 .* on onnxruntime, allowed 5e-02"):
        add_int8_stream(tmp_path, held.manifest, {TOWER: wrong}, lambda _: None)


def test_tensorrt_rtx_builds_the_signed_steps(bundle):
    name = f"{TOWER}_stream"
    built = built_for_rtx(bundle[0].stage_file(name, "int8"), bundle[0].entry(name)["inputs"])
    assert built.convolutions == {"int8": 56, "float32": 1}

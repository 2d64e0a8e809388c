"""Engines of incremental towers on the double, run through StreamModel; `verify` compares them."""

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.verification.references import golden_references
from infdet_deploy.verification.stages import stage_parity
from infdet_deploy.verification.verify import VerifyOptions, verify
from infdet_deploy.video.sample import sample_frames
from tests.verification.faults import change_graph

STEPS = ("infrared_tower_stream", "flow_tower_stream")


def test_incremental_engines_match_the_whole_clip(nvidia, build_bundle, stream_bundle, tmp_path):
    nvidia("11.4.1")
    path = shutil.copytree(stream_bundle, tmp_path / "a.infdet")
    built = build_bundle(path).built
    assert [entry.stage for entry in built] == [*STAGES, *STEPS]
    assert [entry.record.convolutions["float32"] for entry in built[-2:]] == [57, 56 + 16]
    bundle, frames = load_bundle(path), sample_frames(50, 64, seed=1)
    with StreamModel(bundle, "tensorrt", step_frames=16) as model, Detector(bundle) as detector:
        stream = model.stream()
        parts = [stream.push(frames[:23]), stream.push(frames[23:]), stream.flush()]
        for name, whole in detector.features(frames).items():
            assert compare(np.concatenate([part[name] for part in parts]), whole).relative_l2 <= 1e-5
    compared = list(stage_parity(bundle, golden_references(bundle), contenders=[Contender("tensorrt", "float32")]))
    assert [row.stage for row in compared] == [*STAGES, *STEPS]
    assert all(row.passed for row in compared)
    for engine in path.with_suffix(".engines").glob("*_stream*"):
        engine.unlink()
    compared = list(stage_parity(bundle, golden_references(bundle), contenders=[Contender("tensorrt", "float32")]))
    assert [row.stage for row in compared] == [*STAGES]


def test_verify_finds_an_incremental_tower_with_other_weights(stream_bundle, tmp_path):
    onnx = pytest.importorskip("onnx")

    def change(graph):
        (weight,) = (i for i in graph.initializer if i.name.endswith("Mixed_5c.b1b.weight"))
        weight.CopyFrom(onnx.numpy_helper.from_array(1.01 * onnx.numpy_helper.to_array(weight), weight.name))

    assert verify(stream_bundle, VerifyOptions(self_test=True)).passed
    path = shutil.copytree(stream_bundle, tmp_path / "a.infdet")
    change_graph(path, "flow_tower_stream.float32.onnx", change)
    found = verify(path, VerifyOptions(self_test=True))
    assert {row.stage for row in found.stages if not row.passed} == {"flow_tower_stream"}
    assert {row.stage for row in found.stages} == {*STAGES, *STEPS}
    assert not found.passed

"""Comparison of hand-made numbers, and detection of a stage with other weights."""

import json

import numpy as np
import pytest

from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.detections import Detection, compare_detections
from infdet_deploy.verification.stages import StageParity
from tests.verification.faults import change_graph, keep_float32_onnx


@pytest.mark.parametrize("ours", [[1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_not_a_number_and_another_shape_never_pass(ours):
    errors = compare(np.array(ours), np.array([1.0, 2.0]))
    assert errors.nonfinite == np.isnan(ours).sum()
    assert not StageParity("openvino", "float32", *errors, tolerance=1e9, error="", stage="head", frames=16).passed


def test_changed_detections_by_hand():
    reference = [Detection("hug", 0, 2, 0.9), Detection("hug", 5, 6, 0.8), Detection("drop", 1, 2, 0.7)]
    ours = [Detection("hug", 0.1, 2.3, 0.85), Detection("drop", 3, 4, 0.7)]
    changes = compare_detections(reference, ours)
    assert (changes.matched, changes.missed, changes.extra) == (1, 2, 1)
    assert changes.boundary_shift_s == pytest.approx(0.3)
    assert changes.score_shift == pytest.approx(0.05)


@pytest.mark.parametrize("fault", [0.01, float("nan")])
def test_verify_finds_a_stage_of_other_weights(bundle_copy, command, fault):
    onnx = pytest.importorskip("onnx")

    def change(graph):
        (bias,) = (i for i in graph.initializer if i.name.endswith("output.bias"))
        values = onnx.numpy_helper.to_array(bias) + np.float32(fault)
        bias.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), bias.name))

    keep_float32_onnx(bundle_copy)
    change_graph(bundle_copy, "head.float32.onnx", change)
    bisect = fault == 0.01
    result = command("verify", bundle_copy, "--json", *(["--bisect"] if bisect else []))
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] is False
    failed = {(r["stage"], r["precision"], r["backend"]) for r in report["stages"] if not r["passed"]}
    assert {entry[:2] for entry in failed} == {("head", "float32")}
    assert ("head", "float32", "openvino") in failed
    assert {r["stage"] for r in report["stages"]} == set(STAGES)
    assert ("bisect" in report) == bisect
    if not bisect:
        return
    assert {one["backend"] for one in report["bisect"]} == {backend for *_, backend in failed}
    for one in report["bisect"]:
        assert (one["first"], one["culprits"]) == ("head/classifiers/0/output", ["head/classifiers/0/output"])

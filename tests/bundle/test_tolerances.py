"""Errors and tolerances of small examples."""

import numpy as np
import pytest

from infdet_deploy.bundle.tolerances import Tolerances, compare, parse_tolerances, tolerance


def test_compare_by_hand():
    max_abs, relative, cosine, snr_db, nonfinite = compare(np.array([[3.0, 4.5]]), np.array([[3.0, 4.0]]))
    assert max_abs == 0.5
    assert relative == pytest.approx(0.1)
    assert cosine == pytest.approx(27 / (5 * np.hypot(3, 4.5)))
    assert snr_db == pytest.approx(20)
    assert nonfinite == 0
    assert compare(np.ones(3), np.ones(3)) == pytest.approx((0, 0, 1, np.inf, 0))
    assert compare(np.array([np.inf, np.nan, 1]), np.ones(3)).nonfinite == 2
    assert compare(np.ones((0, 3)), np.ones((0, 3))).max_abs == 0


def test_default_tolerances():
    assert [tolerance(form, "float32") for form in ("onnx", "torchscript")] == [1e-4, 1e-4]
    assert tolerance("onnx", "float16") == 1e-2


def test_changed_tolerances():
    changed = parse_tolerances(["float16=2e-3", "int8.scores=0.5"])
    assert [changed.stage(form, "float16") for form in ("onnx", "torchscript")] == [2e-3, 2e-3]
    assert changed.scores("float16") == Tolerances().scores("float16") == 5e-3
    assert (changed.stage("onnx", "int8"), changed.scores("int8")) == (5e-2, 0.5)
    assert np.isnan(Tolerances({"int8": 1e-3}).table()["int8"]["torchscript"])  # TorchScript has no int8
    assert changed.table()["bfloat16"] == {"onnx": 1e-1, "torchscript": 1e-1, "scores": 3e-2}
    assert not changed.stage("onnx", "float8") >= 0.0  # none is known: nothing passes

"""Comparison by hand-made numbers."""

import numpy as np
import pytest

from infdet_deploy.agreement import compare, tolerance


def test_compare_by_hand():
    max_abs, relative, cosine = compare(np.array([[3.0, 4.5]]), np.array([[3.0, 4.0]]))
    assert max_abs == 0.5
    assert relative == pytest.approx(0.1)
    assert cosine == pytest.approx(27 / (5 * np.hypot(3, 4.5)))
    assert compare(np.ones(3), np.ones(3)) == pytest.approx((0, 0, 1))


def test_only_float16_may_be_far():
    assert [tolerance(form, "float32") for form in ("onnx", "torchscript")] == [1e-4, 1e-4]
    assert tolerance("onnx", "float16") == 1e-2

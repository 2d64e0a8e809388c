"""Python and the C++ library accept and refuse the same bundles."""

import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST
from infdet_deploy.errors import BundleError
from tests.bundle.small_bundle import write_small_bundle
from tests.cpp.parity import Parity
from tools.campaigns import bundles, manifests


@pytest.fixture(scope="module")
def parity(cpp_build):
    return Parity(cpp_build / "tests" / "libinfdet_parity.so")


def test_four_hundred_changed_manifests(tmp_path, parity):
    """The short form of tools/campaigns/manifests.py."""
    tally = manifests.campaign(tmp_path / "small.infdet", 400, seed=3, accepts=parity.accepts)
    assert tally.failures == []
    assert tally.counts["accepted"] > 20


def test_four_hundred_changed_files(tmp_path, parity):
    """The short form of tools/campaigns/bundles.py."""
    pytest.importorskip("onnx")
    tally = bundles.campaign(tmp_path / "running.infdet", 400, seed=3, accepts=parity.accepts)
    assert tally.failures == []
    assert tally.counts["accepted"] > 20


@pytest.mark.parametrize(("levels", "good"), [(99, True), (100, True), (101, False), (102, False), (2000, False)])
def test_depth(tmp_path, parity, levels, good):
    bundle = write_small_bundle(tmp_path / "small.infdet")
    text = (bundle / MANIFEST).read_bytes()
    deep = b'"name": "small", "x": ' + b"[" * levels + b"]" * levels
    (bundle / MANIFEST).write_bytes(manifests.resealed(text.replace(b'"name": "small"', deep, 1)))
    assert parity.accepts(bundle)[0] is good
    if good:
        load_bundle(bundle)
    else:
        with pytest.raises(BundleError, match=r"nested too deeply|recursion"):
            load_bundle(bundle)

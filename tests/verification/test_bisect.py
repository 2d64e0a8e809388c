"""Faults planted in single modules must be named, apart from the modules that read their output."""

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.tolerances import parse_tolerances
from infdet_deploy.errors import UsageError
from infdet_deploy.runtime.backends.registry import is_available
from infdet_deploy.verification.bisect import bisect
from infdet_deploy.verification.cutting import StageGraph
from infdet_deploy.verification.references import load_reference, sample_references
from tests.verification.faults import change_graph, overflow_weight, set_pads

BACKENDS = [b for b in ("openvino", "onnxruntime") if is_available(b)]


@pytest.fixture(scope="module")
def network(tiny_bundle):
    return load_reference(load_bundle(tiny_bundle))


@pytest.fixture(scope="module")
def tensors(network):
    return sample_references(network, (32,))[0]


@pytest.fixture
def faulty(tmp_path, tiny_bundle):
    """`faulty(file, change, *arguments)`: a bundle in which one file's graph is changed."""

    def make(file, change, *arguments):
        path = shutil.copytree(tiny_bundle, tmp_path / "faulty.infdet")
        change_graph(path, file, lambda graph: change(graph, *arguments))
        return load_bundle(path)

    return make


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_that_overflows_float16(faulty, network, tensors, backend):
    bundle = faulty("infrared_tower.float16.onnx", overflow_weight, "infrared_tower/Mixed_4c/b1b/Conv")
    found = bisect(bundle, network, "infrared_tower", backend, "float16", tensors["infrared_tower"])
    assert found.first == "infrared_tower/Mixed_4c/b1b"
    assert found.culprits == ("infrared_tower/Mixed_4c/b1b",)
    by_name = {module.module: module for module in found.modules}
    culprit = by_name["infrared_tower/Mixed_4c/b1b"]
    assert (culprit.nonfinite > 0) == (backend == "onnxruntime")  # OpenVINO replaces an infinite weight by the largest
    assert not culprit.alone <= 10 * found.tolerance
    after = by_name["infrared_tower/Mixed_4d/b0"]
    assert after.verdict == "victim"
    assert not after.inside <= found.tolerance
    assert after.alone <= found.tolerance
    assert {m.verdict for m in found.modules[: found.modules.index(culprit)]} == {"ok"}
    assert by_name["infrared_tower/Mixed_4c/b2b"].verdict == "ok"  # parallel to it, not after it


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("node", "pads"),
    [
        ("flow_tower/Mixed_3c/b2b/Conv", [0, 0, 0, 2, 2, 2]),  # the same shape, moved by one
        ("flow_tower/Mixed_5b/b1b/Conv", [1, 1, 1, 1, 1, 2]),  # a shape that the next layer refuses
    ],
)
def test_a_wrong_padding(faulty, network, tensors, backend, node, pads):
    bundle = faulty("flow_tower.float32.onnx", set_pads, node, pads)
    found = bisect(bundle, network, "flow_tower", backend, "float32", tensors["flow_tower"])
    module = node.removesuffix("/Conv")
    assert (found.first, found.culprits) == (module, (module,))
    assert found.summary == f"flow_tower on {backend} float32: {module} is wrong with the right input"
    victims = [m for m in found.modules if m.verdict == "victim"]
    if pads[0] == 0:
        assert len(victims) > 20
        assert all(m.alone < 1e-5 < m.inside for m in victims)
    else:
        assert not victims
        assert all(np.isnan(m.inside) and m.alone < 1e-5 for m in found.modules if m.module != module)


def test_a_fault_in_the_head(faulty, network, tensors):
    bundle = faulty("head.float16.onnx", overflow_weight, "head/classifiers/0/hidden/MatMul")
    found = bisect(bundle, network, "head", "openvino", "float16", tensors["head"])
    assert found.culprits == ("head/classifiers/0/hidden",)


def test_a_correct_stage_has_no_culprit_and_tolerances_count(tiny_bundle, network, tensors):
    bundle = load_bundle(tiny_bundle)
    right = bisect(bundle, network, "fen", "openvino", "float32", tensors["fen"])
    assert (right.first, right.culprits) == ("", ())
    assert right.summary == "fen on openvino float32: every module within tolerance"
    assert len(right.modules) > 20
    assert max(m.inside for m in right.modules) < 1e-5
    strict = bisect(bundle, network, "fen", "openvino", "float16", tensors["fen"], parse_tolerances(["float16=1e-7"]))
    assert strict.first == "fen/conv1"
    assert strict.tolerance == 1e-7


def test_torchscript_is_refused(tiny_bundle, network, tensors):
    with pytest.raises(UsageError, match="needs a backend that runs ONNX files directly; torchscript does not"):
        bisect(load_bundle(tiny_bundle), network, "fen", "torchscript", "float32", tensors["fen"])


def test_modules_are_those_of_the_network_in_data_order(tiny_bundle):
    graph = StageGraph(tiny_bundle / "infrared_tower.float16.onnx")
    names = [module.name for module in graph.modules(set(graph.keys().values()))]
    assert len(names) == len(set(names))
    order = [
        f"infrared_tower/Mixed_4c/{part}" for part in ("b0", "b1a", "b1b", "b2a", "b2b", "MaxPool", "b3b", "Concat")
    ]
    first = names.index(order[0])
    assert names[first : first + 8] == order
    assert names[-1].startswith("infrared_tower/")

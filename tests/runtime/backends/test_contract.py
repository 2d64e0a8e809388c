"""The contract of every backend, built in or registered by another package."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from infdet_deploy.benchmarks.contenders import contenders, runs_on_gpu
from infdet_deploy.bundle.golden import load_golden, stage_tensors
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.tolerances import PRECISIONS, compare, tolerance
from infdet_deploy.errors import BackendError, InfdetError, UsageError
from infdet_deploy.runtime.backends.base import Backend
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import available_backends, backend_names, get_backend, is_available
from infdet_deploy.runtime.compiled_stages import open_bundle_stage, stage_source
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.doctor import examine
from infdet_deploy.verification.references import contenders_of
from infdet_deploy.verification.stages import stage_parity

BUILT_IN = ("openvino", "onnxruntime", "torchscript", "tensorrt")
PLUGIN = '''
from infdet_deploy.runtime.backends.base import Backend, Capabilities, CompiledStage


class Plugin(Backend):
    """A backend of another package, which computes with OpenVINO and counts its calls."""

    capabilities = Capabilities(package="openvino", precisions=("float32",))
    calls = 0

    def compile(self, source):
        return Stage(source)


class Stage(CompiledStage):
    def __init__(self, source):
        import openvino

        super().__init__(source.inputs, source.outputs)
        self._compiled = openvino.compile_model(str(source.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def compute(self, feeds):
        Plugin.calls += 1
        found = self._compiled({name: feeds[name] for name in self.inputs})
        return {name: found[name] for name in self.outputs}

    def close(self):
        del self._compiled
'''


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a distribution that registers backends: entry points (name = object) and the source of `thirdparty`."""

    def install(entry_points: str, source: str = PLUGIN) -> None:
        (tmp_path / "thirdparty.py").write_text(source)
        info = tmp_path / "thirdparty-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[infdet_deploy.backends]\n{entry_points}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("thirdparty", None)


@pytest.fixture
def backend(request, distribution):
    if request.param not in BUILT_IN:
        distribution(f"{request.param} = thirdparty:Plugin")
    if not is_available(request.param):
        pytest.skip(f"{request.param} is not installed")
    return get_backend(request.param)


every_backend = pytest.mark.parametrize("backend", [*BUILT_IN[:3], "plugin"], indirect=True)


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@every_backend
def test_every_stage_computes_the_golden_clip(backend, bundle):
    for stage, tensors in stage_tensors(load_golden(bundle)).items():
        if stage not in bundle.stages:
            continue
        opened = open_bundle_stage(bundle, stage, backend.name, "float32")
        assert opened.concurrency == 1
        (output,) = opened.outputs
        found = opened.run({name: tensors[name] for name in opened.inputs})
        opened.release_memory()
        assert set(found) == {output}
        assert found[output].dtype == np.float32
        assert compare(found[output], tensors[output]).relative_l2 <= tolerance(backend.capabilities.format, "float32")
        opened.close()


@every_backend
def test_other_lengths_after_the_first(backend, bundle, tiny_clip):
    opened = open_bundle_stage(bundle, "infrared_tower", backend.name, "float32")
    for frames in (16, 40, 24):
        assert len(opened.run({"frames": tiny_clip(frames)})["features"]) == frames // 8 - 1
    opened.close()


@every_backend
def test_refusals(backend, bundle, tmp_path):
    source = stage_source(bundle, "head", backend.name, "float32")
    for wrong, error, message in (
        ({"precision": "float8"}, UsageError, f"{backend.name} supports float32, .*not float8|supports float32, not"),
        ({"performance": "fast"}, UsageError, "no performance 'fast'; expected latency or throughput"),
        ({"path": tmp_path / "none.onnx"}, BackendError, f"{backend.name} refuses none.onnx: "),
    ):
        with pytest.raises(error, match=message) as caught:
            backend.open_stage(replace(source, **wrong))
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(BackendError, match=r"refuses text\.onnx"):
        backend.open_stage(replace(source, path=tmp_path / "text.onnx"))
    if not backend.capabilities.throughput:
        with pytest.raises(UsageError, match="has no throughput mode; use openvino"):
            backend.open_stage(replace(source, performance="throughput"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_capabilities(name):
    backend = get_backend(name)
    assert isinstance(backend, Backend)
    assert backend.name == name
    assert get_backend(name) is backend
    assert set(backend.capabilities.precisions) <= set(PRECISIONS)
    assert backend.capabilities.format == ("torchscript" if name == "torchscript" else "onnx")
    assert backend.capabilities.built_ahead == backend.capabilities.on_gpu == (name == "tensorrt")
    assert not backend.supports("float8")


def test_capabilities_are_known_without_the_package():
    packages = ("openvino", "onnxruntime", "torch", "tensorrt")
    code = f"""
import sys
for name in {packages!r}:
    sys.modules[name] = None
from infdet_deploy.runtime.backends.registry import backend_names, get_backend
print([get_backend(name).capabilities.package for name in backend_names()])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(list(packages))


def test_a_registered_backend_works_like_a_built_in_one(distribution, bundle, tiny_clip):
    assert backend_names() == BUILT_IN
    distribution("plugin = thirdparty:Plugin")
    assert backend_names() == (*BUILT_IN, "plugin")
    plugin, clip = get_backend("plugin"), tiny_clip(24)
    before = plugin.calls
    with Detector(bundle, "plugin") as ours, Detector(bundle) as openvino:
        np.testing.assert_allclose(ours.scores(clip), openvino.scores(clip), atol=1e-6)
    assert plugin.calls == before + len(bundle.stages)
    contender = Contender("plugin", "float32")
    assert contenders(bundle, "plugin,openvino", "float32") == [contender, Contender("openvino", "float32")]
    assert contender in contenders(bundle, "all")
    assert contender not in contenders(bundle, "all", performance="throughput")
    assert not runs_on_gpu("plugin")
    assert contender in contenders_of(bundle)[0]
    rows = list(stage_parity(bundle, [stage_tensors(load_golden(bundle))], contenders=[contender]))
    assert {row.stage for row in rows} >= set(bundle.stages)
    assert all(row.passed for row in rows)
    assert examine().to_dict()["backends"]["plugin"] == {
        "available": True, "precisions": ["float32"], "refused": [], "frames_per_s": None, "error": None
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"no backend 'other'; backends are openvino, .*, tensorrt, plugin"):
        get_backend("other")


def test_a_registered_backend_may_be_an_object(distribution):
    distribution("mine = thirdparty:instance", PLUGIN + "\ninstance = Plugin()\n")
    assert get_backend("mine").name == "mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_like_this", "which thirdparty registers, does not load: .*nothing_like_this"),
        ("Plugin = 3", "which thirdparty registers, is thirdparty:Plugin, expected a subclass of .*base.Backend"),
        (
            textwrap.dedent("""
            from infdet_deploy.runtime.backends.base import Backend
            class Plugin(Backend): pass
            """),
            "does not load: .*abstract",
        ),
    ],
)
def test_a_broken_registration_affects_no_other_backend(distribution, bundle, source, message):
    distribution("broken = thirdparty:Plugin", source)
    with pytest.raises(BackendError, match=message) as caught:
        Detector(bundle, "broken")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.warns(UserWarning, match="backend broken"):
        names = [backend.name for backend in available_backends()]
    assert "openvino" in names
    assert "broken" not in names


def test_built_in_backends_cannot_be_replaced(distribution):
    distribution("openvino = thirdparty:Plugin")
    assert backend_names() == BUILT_IN
    assert type(get_backend("openvino")).__module__ == "infdet_deploy.runtime.backends.openvino"


def test_a_closed_detector_raises_an_error(bundle, tiny_clip, clip_file):
    detector = Detector(bundle)
    detector.close()
    detector.close()
    clip = tiny_clip(16)
    for use in (
        lambda: detector.detect(clip_file),
        lambda: detector.detect(detector),
        lambda: detector.analyse(clip_file),
        lambda: detector.read(clip_file),
        lambda: detector.scores(clip),
        lambda: detector.features(clip),
        lambda: detector.scores_of({"infrared_features": np.zeros((1, 8), np.float32)}, 16),
        lambda: detector.flow(clip, 0, 16),
        lambda: detector.detections(np.zeros((1, 3)), 16, 25.0),
        lambda: detector.__enter__(),
    ):
        with pytest.raises(InfdetError, match=r"^detector is closed; open another one$"):
            use()

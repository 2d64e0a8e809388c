"""The `tensorrt` backend on the double: scores, buffers, graphs, arrays of other libraries, refusals."""

import sys
import types

import numpy as np
import pytest

from infdet_deploy.benchmarks.contenders import contenders
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.errors import BackendError, InfdetError, UsageError
from infdet_deploy.files import sha256
from infdet_deploy.runtime.backends.registry import get_backend, is_available, open_stage
from infdet_deploy.runtime.backends.tensorrt import engine_cache
from infdet_deploy.runtime.compiled_stages import open_bundle_stage
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.verification.references import load_reference, sample_references
from infdet_deploy.verification.stages import stage_parity
from infdet_deploy.verification.verify import VerifyOptions, verify
from tests.runtime.backends.tensorrt import double

VERSION = "11.4.1"


@pytest.fixture
def bundle(nvidia, build_bundle, bundle_copy):
    nvidia(VERSION)
    build_bundle(bundle_copy, "float32")
    return load_bundle(bundle_copy)


@pytest.fixture
def fen(bundle):
    stage = open_bundle_stage(bundle, "fen", "tensorrt", "float32")
    yield stage
    stage.close()


def only(monkeypatch, *names):
    """Make `verify` find only these backends."""
    monkeypatch.setattr("infdet_deploy.verification.references.available_backends", lambda: [*map(get_backend, names)])


def on_gpu(array: np.ndarray, stream: int | None = None, strides: tuple[int, ...] | None = None):
    """An object that owns device memory, as PyCUDA, CuPy and torch have it."""
    _, pointer = double._malloc(array.nbytes)
    double._copy(pointer, array.ctypes.data, array.nbytes, double.Kind.cudaMemcpyHostToDevice)
    interface = {
        "shape": array.shape, "typestr": array.dtype.str, "data": (pointer, False), "version": 3,
        "strides": strides, "stream": stream,
    }  # fmt: skip
    return types.SimpleNamespace(__cuda_array_interface__=interface, shape=array.shape, dtype=array.dtype)


def test_scores_match_openvino(bundle, tiny_clip):
    with Detector(bundle) as reference, Detector(bundle, "tensorrt") as ours:
        for frames in (16, 23, 100, 100):
            clip = tiny_clip(frames)
            assert np.abs(ours.scores(clip) - reference.scores(clip)).max() <= 1e-5
    assert not double.memory  # closing freed everything
    assert not double.graphs
    assert not double.streams


@pytest.mark.slow
def test_chunks_stay_within_the_profile(bundle, tiny_clip):
    clip = tiny_clip(148)
    with Detector(bundle) as reference, Detector(bundle, "tensorrt", chunk_snippets=1) as ours:
        assert np.abs(ours.scores(clip) - reference.scores(clip)).max() <= 1e-4
        ours.chunk_snippets = 32
        with pytest.raises(BackendError) as caught:
            ours.scores(clip)
    assert str(caught.value) == (
        "frames has shape [148, 64, 64], the engine supports [16, 64, 64] to [128, 64, 64]; "
        "infdet-deploy build copy.infdet --target tensorrt, with larger --frames or --clip-frames"
    )


def test_one_graph_for_each_shape(fen, tiny_clip):
    allocated = len(double.memory)
    for frames in (17, 33, 17, 33, 17):
        fen.run({"frames": tiny_clip(frames)})
    assert len(set(double.launches)) == 2
    assert len(double.launches) == 5
    assert len(double.memory) == allocated
    for frames in range(34, 50):
        fen.run({"frames": tiny_clip(frames)})
    assert len(fen._graphs) == 8
    assert len(double.graphs) == 8  # dropped graphs were freed


def test_an_engine_that_cannot_be_recorded_is_enqueued(fen, tiny_clip, monkeypatch):
    right = fen.run({"frames": tiny_clip(17)})["flow"]
    fen._graphs.clear()
    runtime = sys.modules["cuda.bindings.runtime"]

    def invalidated(stream):
        double.capturing.pop(stream)
        return double.Status.cudaErrorStreamCaptureInvalidated, None

    monkeypatch.setattr(runtime, "cudaStreamEndCapture", invalidated)
    before = len(double.launches)
    for _ in range(2):
        assert np.array_equal(fen.run({"frames": tiny_clip(17)})["flow"], right)
    assert len(double.launches) == before


def test_outputs_stay_on_the_gpu_and_feed_the_next_stage(bundle, fen, tiny_clip):
    tower = open_bundle_stage(bundle, "flow_tower", "tensorrt", "float32")
    clip = tiny_clip(33)
    flow = fen.run({"frames": clip})["flow"]
    held = fen.run_on_device({"frames": clip})["flow"]
    assert double.on_device(held.pointer, held.nbytes)
    assert (held.shape, held.dtype) == (flow.shape, np.float32)
    assert np.array_equal(held.to_host(), flow)
    ours, reference = tower.run({"flow": held})["features"], tower.run({"flow": flow})["features"]
    assert np.array_equal(ours, reference)
    held[31:].clear()
    assert not held.to_host()[31].any()
    assert np.array_equal(held[4:9].to_host(), flow[4:9])
    with pytest.raises(BackendError, match="needs step 1, not 2"):
        held[::2]
    tower.close()


@pytest.mark.parametrize(
    "make_stream",
    [
        lambda handle: handle,
        lambda handle: types.SimpleNamespace(handle=handle),  # PyCUDA
        lambda handle: types.SimpleNamespace(ptr=handle),  # CuPy
        lambda handle: types.SimpleNamespace(cuda_stream=handle),  # torch
        lambda handle: types.SimpleNamespace(__cuda_stream__=lambda: (0, handle)),  # cuda.core
    ],
)
def test_arrays_and_streams_of_other_libraries(fen, tiny_clip, make_stream):
    clip = tiny_clip(20)
    right = fen.run({"frames": clip})["flow"]
    _, handle = double._new_stream()
    found = fen.run_on_device({"frames": on_gpu(clip, stream=handle)}, make_stream(handle))["flow"]
    assert found.__cuda_array_interface__["stream"] == handle
    assert np.array_equal(found.to_host(), right)
    contiguous = on_gpu(clip, strides=(64 * 64, 64, 1))
    assert np.array_equal(fen.run({"frames": contiguous})["flow"], right)


def test_the_default_stream(fen, tiny_clip):
    found = fen.run_on_device({"frames": tiny_clip(20)}, 0)["flow"]
    assert found.__cuda_array_interface__["stream"] == 1  # 0 is not allowed in the interface
    assert np.array_equal(found.to_host(), fen.run({"frames": tiny_clip(20)})["flow"])


def test_feeds_that_do_not_fit(fen, tiny_clip):
    clip = tiny_clip(20)
    other_gpu = on_gpu(clip)
    double.devices[other_gpu.__cuda_array_interface__["data"][0]] = 1
    for feed, message in (
        (clip.astype(np.float32), "frames is float32, expected uint8"),
        (clip[:, :32], r"frames has shape \[20, 32, 64\], the engine supports \[2, 64, 64\] to \[129, 64, 64\]"),
        (clip[0], r"frames has shape \[64, 64\]"),
        (clip[:1], r"frames has shape \[1, 64, 64\]"),
        (on_gpu(clip, strides=(64 * 64, 1, 64)), "strides .* make it C-contiguous first"),
        (other_gpu, "frames is on GPU 1, the engine on GPU 0"),
    ):
        with pytest.raises(BackendError, match=message):
            fen.run({"frames": feed})
    with pytest.raises(BackendError, match="a CUDA stream or its handle as an integer is expected, not str"):
        fen.run_on_device({"frames": clip}, "stream")
    assert fen.run({"frames": clip})["flow"].shape == (19, 3, 16, 16)


def test_no_engine_is_one_line(nvidia, tiny_bundle, bundle):
    for path, precision, name in ((tiny_bundle, "float32", "tiny"), (bundle.path, "float16", "copy")):
        with pytest.raises(BackendError) as caught:
            Detector(path, "tensorrt", precision)
        assert str(caught.value) == (
            f"no engine of fen.{precision}.onnx for Orin and TensorRT {VERSION}: "
            f"infdet-deploy build {name}.infdet --target tensorrt --precision {precision}"
        )
    nvidia("10.9.0")
    with pytest.raises(BackendError, match=r"no engine of fen\.float32\.onnx for Orin and TensorRT 10\.9\.0"):
        Detector(bundle, "tensorrt")


def test_a_changed_engine_is_not_loaded(bundle):
    engine = next(bundle.path.with_suffix(".engines").glob("fen.float32.*.engine"))
    engine.write_bytes(engine.read_bytes() + b" ")
    with pytest.raises(BackendError, match=r"fen\.float32\..*engine was changed since it was built .* build again"):
        open_bundle_stage(bundle, "fen", "tensorrt", "float32")


def test_an_engine_of_a_compatible_version_is_loaded(nvidia, build_bundle, bundle_copy, tiny_clip):
    nvidia("10.9.0")
    build_bundle(bundle_copy, "float32", version_compatible=True)
    nvidia("10.10.0")
    with Detector(bundle_copy, "tensorrt") as ours:
        assert ours.scores(tiny_clip(32)).shape == (3, 3)


def test_all_backends_means_those_with_engines(bundle, tiny_bundle):
    assert is_available("tensorrt")
    entries = [(c.backend, c.precision) for c in contenders(bundle, "all")]
    assert ("tensorrt", "float32") in entries
    assert ("tensorrt", "float16") not in entries
    assert "tensorrt" not in {c.backend for c in contenders(load_bundle(tiny_bundle), "all")}
    assert not get_backend("tensorrt").is_ready(tiny_bundle / "fen.float32.onnx", "float32")


def test_verify_compares_the_built_engines(bundle, monkeypatch):
    only(monkeypatch, "tensorrt", "torchscript")
    results = [
        r for r in stage_parity(bundle, sample_references(load_reference(bundle), (44,))) if r.backend == "tensorrt"
    ]
    assert [(r.stage, r.precision) for r in results] == [(s, "float32") for s in STAGES]
    assert all(r.passed for r in results)


def test_verify_notes_missing_engines(bundle, monkeypatch):
    only(monkeypatch, "tensorrt")
    hashed = []
    monkeypatch.setattr(engine_cache, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    found = verify(bundle.path, VerifyOptions(self_test=True))
    assert {(row.backend, row.precision) for row in found.stages} == {("tensorrt", "float32")}
    assert found.passed
    assert found.to_dict()["left_out"] == [{"backend": "tensorrt", "precision": "float16"}]
    assert found.notes == [
        "tensorrt left out in float16: no engine here for this device; infdet-deploy build copy.infdet --target "
        "tensorrt --precision float16"
    ]
    # once to list the engines, once to open the stage alone, once for the end-to-end check
    assert hashed.count("fen.float32.onnx") == 3


def test_without_the_package(tiny_bundle):
    if is_available("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(InfdetError, match=r"backend tensorrt needs the package tensorrt: pip install"):
        open_stage("tensorrt", tiny_bundle / "fen.float32.onnx", "float32", ("frames",), ("flow",))
    with pytest.raises(UsageError, match="tensorrt supports float32, bfloat16, float16, int8, not float8"):
        open_stage("tensorrt", tiny_bundle / "fen.float32.onnx", "float8", ("frames",), ("flow",))
    assert "tensorrt" not in {c.backend for c in contenders(load_bundle(tiny_bundle), "all")}

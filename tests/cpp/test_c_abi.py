"""libinfdet through its C interface: results equal Python's, and misuse is refused with a status and a message."""

import ctypes
import json
import math
import threading

import numpy as np
import pytest

from infdet_deploy.bundle.manifest import MANIFEST, write_manifest
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video import Video
from infdet_deploy.video.resize import resize
from tests.cpp.library import (
    ARGUMENT,
    BACKEND,
    BUNDLE,
    FRAMES,
    HANDLE,
    STATE,
    Detection,
    Failed,
    Options,
)

FPS = 25.0


@pytest.fixture(scope="module")
def detector(tiny_bundle):
    with Detector(tiny_bundle) as ready:
        yield ready


@pytest.fixture(scope="module")
def model(native, tiny_bundle):
    handle = native.open(tiny_bundle)
    yield handle
    native.close(handle)


def by_python(detector, frames, fps=FPS):
    """Detections of Python's runtime. frames: any size, uint8 [T, H, W]."""
    frames = resize(frames, detector.bundle.size, detector.bundle.preparation.mode)
    found = detector.detect(Video("clip", frames, fps, len(frames) / fps))
    return [(d.label, d.start_s, d.end_s, d.score) for d in found]


def assert_same(ours, reference):
    assert [d[:3] for d in ours] == [d[:3] for d in reference]
    assert [d[3] for d in ours] == pytest.approx([d[3] for d in reference], abs=1e-6)


def moving(rng, frames, height, width):
    """Drifting noise, uint8 [T, H, W]: a picture with motion."""
    picture = rng.integers(0, 256, (height, width), np.uint8)
    return np.stack([np.roll(picture, (i, 2 * i), (0, 1)) for i in range(frames)])


def refused(status, text, call, *arguments, **options):
    with pytest.raises(Failed, match=text) as caught:
        call(*arguments, **options)
    assert caught.value.status == status
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("frames", [16, 23, 100, 371, 372, 401])
def test_detections_match_python(native, model, detector, tiny_clip, frames):
    clip = tiny_clip(frames)
    reference = by_python(detector, clip)
    assert reference
    assert_same(native.detect(model, clip, FPS), reference)


def test_frames_of_another_size(native, model, detector):
    rng = np.random.default_rng(1)
    for height, width, fps in ((48, 80, 8.0), (120, 160, 29.97), (64, 64, 12.5)):
        clip = moving(rng, 64, height, width)
        assert_same(native.detect(model, clip, fps), by_python(detector, clip, fps))


def test_chunks_of_another_length(native, tiny_bundle, tiny_clip):
    clip = tiny_clip(240)
    model = native.open(tiny_bundle, chunk_snippets=5)
    with Detector(tiny_bundle, chunk_snippets=5) as detector:
        assert_same(native.detect(model, clip, FPS), by_python(detector, clip))
    native.close(model)


def test_float16_files(native, tiny_bundle, tiny_clip):
    clip = tiny_clip(100)
    model = native.open(tiny_bundle, precision="float16", threads=1)
    with Detector(tiny_bundle, precision="float16") as detector:
        assert_same(native.detect(model, clip, FPS), by_python(detector, clip))
    native.close(model)


def test_describe_and_class_names(native, model, detector):
    from tests.cpp.library import Info

    info = Info(struct_size=ctypes.sizeof(Info))
    native.call("infdet_describe", model, info)
    assert (info.size, info.class_count, info.min_frames, info.recognition) == (64, 3, 16, 0)
    names = [native.library.infdet_class_name(model, i).decode() for i in range(3)]
    assert names == list(detector.bundle.classes)
    assert native.library.infdet_abi_version() == 1


@pytest.mark.parametrize("mode", ["resize", "crop"])
def test_resized_frames_match_python(native, mode):
    rng = np.random.default_rng(2)
    sizes = [(int(h), int(w)) for h, w in rng.integers(1, 400, (40, 2))]
    for height, width in [*sizes, (224, 224), (226, 300), (480, 640), (1, 1), (1, 500)]:
        frames = rng.integers(0, 256, (2, height, width), np.uint8)
        for size in (int(rng.integers(1, 260)), 64, 224):
            assert np.array_equal(native.resize(frames, size, mode), resize(frames, size, mode)), (height, width, size)


@pytest.mark.parametrize("frames", [100, 403])
def test_a_stream_matches_the_clip(native, model, detector, tiny_clip, frames):
    clip = tiny_clip(frames)
    stream = native.open_stream(model, FPS)
    at, rng = 0, np.random.default_rng(frames)
    while at < frames:
        count = int(rng.integers(0, 40))
        native.push(stream, clip[at : at + count])
        at += count
        assert native.polled(model, stream) == []
    native.call("infdet_flush", stream)
    assert_same(native.polled(model, stream), by_python(detector, clip))
    native.call("infdet_close_stream", stream)


def test_eight_threads_share_a_model(native, model, tiny_clip):
    clips = [tiny_clip(96 + 4 * i) for i in range(8)]
    serial = [native.detect(model, clip, FPS) for clip in clips]
    found: dict[int, list] = {}

    def work(index):
        stream = native.open_stream(model, FPS)
        for frame in range(0, len(clips[index]), 7):
            native.push(stream, clips[index][frame : frame + 7])
        native.call("infdet_flush", stream)
        found[index] = native.polled(model, stream)
        native.call("infdet_close_stream", stream)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(8)] == serial


def test_wrong_arguments(native, model, tiny_bundle, tiny_clip):
    clip = tiny_clip(32)
    null = ctypes.c_void_p()
    for fps in (math.nan, math.inf, 0.0, -25.0):
        refused(ARGUMENT, "fps is .*, expected frames per second", native.detect, model, clip, fps)
        refused(ARGUMENT, "fps is .*, expected frames per second", native.open_stream, model, fps)
    refused(ARGUMENT, "bundle is null", native.call, "infdet_open", None, None, null)
    refused(ARGUMENT, "model is null", native.call, "infdet_open", str(tiny_bundle).encode(), None, None)
    refused(ARGUMENT, "model is null", native.detect, None, clip, FPS)
    refused(ARGUMENT, "stream is null", native.call, "infdet_flush", None)
    refused(ARGUMENT, "detection is null", native.call, "infdet_poll", native.open_stream(model, FPS), None)
    found, count = ctypes.POINTER(Detection)(), ctypes.c_size_t()
    arguments = (32, 64, 64, FPS, found)
    refused(ARGUMENT, "frames is null", native.call, "infdet_detect", model, None, *arguments, count)
    refused(ARGUMENT, "found_count is null", native.call, "infdet_detect", model, clip.ctypes.data, *arguments, None)
    for shape in ((32, 0, 64), (32, 64, 1 << 40), (1 << 62, 64, 64)):
        refused(
            ARGUMENT, "pixels, expected|memory", native.call, "infdet_detect", model, clip.ctypes.data, *shape, FPS,
            found, count,
        )  # fmt: skip
    refused(
        ARGUMENT, "no backend 'tensorflow'; this build has openvino", native.open, tiny_bundle, backend="tensorflow"
    )
    refused(ARGUMENT, "has no int8 onnx of fen; it has float16, float32", native.open, tiny_bundle, precision="int8")
    for chunk in (0, -1, 5000):
        refused(ARGUMENT, "chunk_snippets is", native.open, tiny_bundle, chunk_snippets=chunk)
    refused(ARGUMENT, "threads is -1", native.open, tiny_bundle, threads=-1)
    refused(ARGUMENT, "backend is null", native.open, tiny_bundle, backend=None)
    unfilled = Options()
    refused(ARGUMENT, "default_options", native.call, "infdet_open", str(tiny_bundle).encode(), unfilled, null)
    refused(ARGUMENT, "mode is 'zoom'", native.resize, clip, 64, "zoom")
    refused(ARGUMENT, "size is 0 pixels", native.resize, clip, 0, "resize")
    refused(ARGUMENT, "was freed before", native.call, "infdet_free_detections", ctypes.pointer(Detection()))
    assert native.library.infdet_class_name(model, 3) is None
    assert b"no class 3; there are 3" in native.library.infdet_last_error()


def test_closed_handles(native, tiny_bundle, tiny_clip):
    model = native.open(tiny_bundle)
    stream = native.open_stream(model, FPS)
    native.close(model)
    closed = "this model is closed or was never opened"
    refused(HANDLE, closed, native.close, model)
    refused(HANDLE, closed, native.detect, model, tiny_clip(32), FPS)
    refused(HANDLE, closed, native.open_stream, model, FPS)
    refused(HANDLE, closed, native.close, stream)
    native.push(stream, tiny_clip(32))  # a stream keeps its model in memory
    native.call("infdet_flush", stream)
    native.call("infdet_close_stream", stream)
    for call in ("infdet_flush", "infdet_close_stream"):
        refused(HANDLE, "this stream is closed", native.call, call, stream)
    refused(HANDLE, "this stream is closed", native.push, stream, tiny_clip(32))
    refused(HANDLE, "this stream is closed", native.call, "infdet_poll", 12345, Detection())
    native.call("infdet_close", None)
    native.call("infdet_close_stream", None)
    native.call("infdet_free_detections", None)


def test_wrong_frames_and_order(native, model, tiny_clip):
    refused(FRAMES, "clip has 15 frames; at least 16", native.detect, model, tiny_clip(15), FPS)
    stream = native.open_stream(model, FPS)
    refused(FRAMES, "clip has 0 frames", native.call, "infdet_flush", stream)
    native.push(stream, tiny_clip(16))
    refused(FRAMES, "a frame is 32x64, earlier frames are 64x64", native.push, stream, tiny_clip(4)[:, :, :32])
    native.push(stream, tiny_clip(16))
    native.call("infdet_flush", stream)
    refused(STATE, "was flushed", native.push, stream, tiny_clip(16))
    refused(STATE, "was flushed", native.call, "infdet_flush", stream)
    native.call("infdet_close_stream", stream)


def test_damaged_bundles(native, bundle_copy, tmp_path):
    refused(BUNDLE, "no such bundle: .*none.infdet", native.open, tmp_path / "none.infdet")
    refused(BUNDLE, "is not a bundle: it has no manifest.json", native.open, tmp_path)
    whole = (bundle_copy / MANIFEST).read_text()
    content = json.loads(whole)

    def with_manifest(text, **changes):
        write_manifest(bundle_copy, {**content, **changes})
        refused(BUNDLE, text, native.open, bundle_copy)

    with_manifest("has format 3, this version reads up to 2", format=3)
    with_manifest("has no format number", format="2")
    with_manifest("preprocessing is", preprocessing={"size": 0, "mode": "resize"})
    with_manifest("no name twice", classes=["a", "a", "b"])
    with_manifest("3 classes but 2 thresholds", rule={"thresholds": [0.1, 0.2], "mean_duration_s": [1, 1]})
    with_manifest("unknown key 'x'", rule={**content["rule"], "x": 1})
    with_manifest("leads outside the bundle", files={**content["files"], "../x": {"bytes": 1, "sha256": "0"}})
    stages = {name: entry for name, entry in content["stages"].items() if name != "head"}
    with_manifest("stage 'head' is missing", stages=stages)
    (bundle_copy / MANIFEST).write_text(whole.replace('"drop"', '"dROP"'))
    refused(BUNDLE, r"changed since it was written \(SHA-256 differs\)", native.open, bundle_copy)
    (bundle_copy / MANIFEST).write_text(whole.replace('"format": 2', '"format": 1e999'))
    refused(BUNDLE, "is damaged: it is not JSON", native.open, bundle_copy)
    (bundle_copy / MANIFEST).write_text(whole)

    extra = bundle_copy / "notes.txt"
    extra.write_text("x")
    refused(BUNDLE, "file 'notes.txt' is not listed", native.open, bundle_copy)
    extra.unlink()
    extra.symlink_to("/etc/hosts")
    refused(BUNDLE, "link 'notes.txt' is not listed", native.open, bundle_copy)
    extra.unlink()
    graph = bundle_copy / "head.float32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    refused(BUNDLE, "'head.float32.onnx' was changed since it was exported", native.open, bundle_copy)
    graph.unlink()
    refused(BUNDLE, "'head.float32.onnx' is missing", native.open, bundle_copy)
    graph.symlink_to(bundle_copy / "fen.float32.onnx")
    refused(BUNDLE, "'head.float32.onnx' is a link or no file", native.open, bundle_copy)


def test_unusable_graphs(native, bundle_copy):
    """Their hashes are right, so only their content shows the fault."""
    from infdet_deploy.files import sha256
    from tests.bundle.small_bundle import EMPTY_ONNX

    content = json.loads((bundle_copy / MANIFEST).read_text())

    def with_head(data):
        path = bundle_copy / "head.float32.onnx"
        path.write_bytes(data)
        content["files"][path.name] = {"bytes": len(data), "sha256": sha256(path)}
        write_manifest(bundle_copy, content)

    with_head(b"garbage")
    refused(BUNDLE, "'head.float32.onnx' is not an ONNX file", native.open, bundle_copy)
    # GraphProto field 5, a TensorProto whose field 14 (data_location) is 1, EXTERNAL
    with_head(bytes([0x08, 8, 0x3A, 4, 0x2A, 2, 0x70, 1]))
    refused(BUNDLE, "keeps tensors in another file", native.open, bundle_copy)
    with_head(EMPTY_ONNX)
    refused(BACKEND, "openvino refuses .*head.float32.onnx", native.open, bundle_copy)

"""libinfdet with a bundle of background levels, 9 frames a second and interpolated ends, compared with Python."""

import json
import math
import shutil

import numpy as np
import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, write_manifest
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import BundleError
from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.window import SlidingWindow
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.video import ThermalArray, Video
from infdet_deploy.video.background import BackgroundLevels
from infdet_deploy.video.frames import read_prepared
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.resampling import Resampler
from infdet_deploy.video.resize import resize
from infdet_deploy.video.writing import write_video
from tests.conftest import made_once
from tests.cpp.conftest import run
from tests.cpp.library import ARGUMENT, BUNDLE, FRAMES, Failed

RATE = 9.0
FEW_S = 130.0  # of a recording that outlasts the first 120 s


def scene(count, fps, dtype):
    """A drifting sensor with noise and a warm body that walks and stands: [count, 24, 32], in counts or grey levels."""
    rng, at_s = np.random.default_rng(count), np.arange(count) / fps
    frames = rng.normal(29500, 4, (count, 24, 32)) + rng.normal(0, 200, (24, 32))
    frames += 20 * np.sin(at_s / 40)[:, None, None]
    for frame, moment in zip(frames, at_s, strict=True):
        column = int(13 + 12 * math.sin(moment / 3))
        frame[int(8 + 6 * math.cos(moment / 7)) :][:10, column : column + 6] += 250
    return frames.astype(np.uint16) if dtype == np.uint16 else np.clip((frames - 29100) / 4, 0, 255).astype(np.uint8)


def uneven(count, fps):
    return 5000.0 + np.cumsum(np.random.default_rng(3).uniform(0.4 / fps, 1.6 / fps, count))


def lively_network():
    """A small network with random weights. Normalised by a scene's statistics, its scores differ between snippets."""
    torch = pytest.importorskip("torch")
    from infdet_deploy.model.network import to_grey
    from infdet_deploy.model.presets import ModelConfig
    from infdet_deploy.model.weights import random_network

    config = ModelConfig(
        ("drop", "hug"), size=32, levels="background", frame_rate=RATE, channel_divisor=8, streams="infrared",
        fusion="self",
    )  # fmt: skip
    network = random_network(config, seed=5)
    recording = ThermalArray(scene(100, 4.0, np.uint16))
    frames = read_prepared(recording, Preparation(32, levels="background", frame_rate=RATE), 4.0).frames
    for module in network.modules():
        if hasattr(module, "momentum"):
            module.momentum = 1.0
    grey = to_grey(torch.from_numpy(frames)[None])
    with torch.no_grad():
        network.train()(grey)
        logits, output = network.eval()(grey).logits[0], network.classifier.output
        scale = 3 / logits.std(0)
        output.bias.copy_((output.bias - logits.median(0).values) * scale)
        output.weight.mul_(scale[:, None])
    return network


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Its bundle with incremental towers; thresholds are the median scores of a scene."""
    network = lively_network()
    from infdet_deploy.exporting.bundle import export_bundle
    from infdet_deploy.exporting.options import ExportOptions, Origin

    def make(out):
        origin = Origin(DetectionRule((0.5,) * 2, (0.5, 1.5), ends="interpolated"))
        export_bundle(network, out, ExportOptions(formats=("onnx",), weights=False), origin)
        with Detector(out) as detector:
            scores = detector.scores(detector.read(ThermalArray(scene(520, 4.0, np.uint16)), 4.0).frames)
        content = json.loads((out / MANIFEST).read_text())
        content["rule"]["thresholds"] = [float(score) for score in np.median(scores, axis=0)]
        write_manifest(out, content, staging=out.parent)

    return made_once(tmp_path_factory, "background.infdet", make)


@pytest.fixture(scope="module")
def changed(bundle, tmp_path_factory):
    """`changed(part, key, value)`: a copy of the bundle with one value of its manifest changed."""
    copy = shutil.copytree(bundle, tmp_path_factory.mktemp("changed") / "changed.infdet")
    content = json.loads((bundle / MANIFEST).read_text())

    def change(part, key, value):
        write_manifest(copy, {**content, part: {**content[part], key: value}}, staging=copy.parent)
        return copy

    return change


@pytest.fixture(scope="module")
def model(native, bundle):
    handle = native.open(bundle)
    yield handle
    native.close(handle)


def as_tuples(detections):
    return [(d.label, d.start_s, d.end_s, d.score) for d in detections]


def assert_same(ours, reference):
    """Ends depend on scores, which agree to 1e-6, and are steep functions of them where scores change slowly."""
    assert len(reference) > 3
    assert [d[0] for d in ours] == [d[0] for d in reference]
    assert np.array([d[1:] for d in ours]) == pytest.approx(np.array([d[1:] for d in reference]), abs=1e-6)


def streamed(native, model, stream, clip, times_s, at_once):
    found = []
    for begin in range(0, len(clip), at_once):
        part = slice(begin, begin + at_once)
        native.push(stream, clip[part], None if times_s is None else times_s[part])
        found += native.polled(model, stream)
    native.call("infdet_flush", stream)
    found += native.polled(model, stream)
    native.call("infdet_close_stream", stream)
    return found


@pytest.mark.parametrize(
    ("dtype", "timed", "fps"), [(np.uint16, True, 4.0), (np.uint8, True, 12.0), (np.uint8, False, 4.0)]
)
def test_recordings_match_python(native, bundle, model, dtype, timed, fps):
    clip = scene(int(FEW_S * fps), fps, dtype)
    times_s = uneven(len(clip), fps) if timed else None
    with Detector(bundle) as detector:
        read = detector.analyse(ThermalArray(clip, times_s), None if timed else fps)
    assert read.fps == RATE
    assert read.frames == pytest.approx(RATE * FEW_S, rel=0.05)
    for at_once in (17, len(clip)):
        stream = native.open_stream(model, 33.0 if timed else fps)  # with times, fps is not used
        assert_same(streamed(native, model, stream, clip, times_s, at_once), as_tuples(read.detections))
    if not timed:
        assert_same(native.detect(model, clip, fps), as_tuples(read.detections))


def test_a_video_of_uneven_times(cpp_build, bundle, tmp_path):
    program = cpp_build / "examples" / "infdet-detect"
    if not program.exists():
        pytest.skip("infdet-detect was not built: FFmpeg's libraries are not installed")
    times_s = np.round(uneven(500, 6.0) - 5000, 2)
    write_video(tmp_path / "a.mp4", scene(500, 6.0, np.uint8), times_s=times_s)
    with Detector(bundle) as detector:
        reference = detector.detect(tmp_path / "a.mp4")
    lines = [line.split("\t") for line in run(program, bundle, tmp_path / "a.mp4").splitlines()]
    assert len(reference) > 3
    assert [line[0] for line in lines] == [one.label for one in reference]
    found = np.array([[float(number) for number in line[1:]] for line in lines])
    assert found == pytest.approx(np.array([d[1:] for d in as_tuples(reference)]), rel=1e-5)


def by_watch(bundle, clip, times_s):
    """The events of `watch` for a camera's frames."""
    levels, resampler, loaded = BackgroundLevels(causal=True), Resampler(RATE), load_bundle(bundle)
    ready = [one for pair in zip(resize(clip, 32), times_s, strict=True) for one in levels.push(*pair)]
    frames = np.stack([frame for pair in ready for frame, _ in resampler.push(*pair)])
    head, found = LiveHead(loaded), []
    window = SlidingWindow(head.session(), loaded.classes, loaded.rule, 40.0, 4)
    with StreamModel(loaded) as steps:
        stream = steps.stream()
        for begin in range(0, len(frames), 8):
            part = frames[begin : begin + 8]
            found += window.push(stream.push(part), (begin + np.arange(len(part))) / RATE, RATE)
        found += window.finish(stream.flush(), RATE)
    head.close()
    return as_tuples(action.detection for action in found)


def test_live_events_match_watch(native, bundle):
    model, fps = native.open(bundle, live=1), 4.0
    clip = scene(int(FEW_S * fps), fps, np.uint16)
    for times_s in (uneven(len(clip), fps), None):
        reference = by_watch(bundle, clip, np.arange(len(clip)) / fps if times_s is None else times_s)
        for at_once in (1, 50):
            stream = native.open_live(model, fps, 40.0)
            assert_same(streamed(native, model, stream, clip, times_s, at_once), reference)
    native.close(model)


def refused(status, text, call, *arguments):
    with pytest.raises(Failed, match=text) as caught:
        call(*arguments)
    assert caught.value.status == status
    assert len(str(caught.value).splitlines()) == 1


def test_the_sixteen_frames_are_those_after_interpolation(native, model):
    clip = scene(16, 36.0, np.uint16)
    stream = native.open_stream(model, 36.0)
    native.push(stream, clip)
    refused(FRAMES, "clip has 4 frames; at least 16", native.call, "infdet_flush", stream)
    slow = native.open_stream(model, 2.0)
    native.push(slow, clip[:5])  # 2 s
    native.call("infdet_flush", slow)


def test_wrong_times_and_types(native, model):
    clip = scene(40, 9.0, np.uint16)
    grey, times_s = (clip >> 8).astype(np.uint8), np.arange(40) / 9
    stream = native.open_stream(model, 9.0)
    refused(ARGUMENT, "times_s is null", native.call, "infdet_push_timed", stream, grey.ctypes.data, 40, 24, 32, None)
    refused(ARGUMENT, "frames is null", native.call, "infdet_push16", stream, None, 40, 24, 32, None)
    for wrong, text in ((math.nan, "is nan, expected seconds"), (math.inf, "is inf"), (0.1, "1 is 0.1.*decrease")):
        refused(ARGUMENT, rf"times_s\[1\]|{text}", native.push, stream, clip[:2], np.array([0.2, wrong]))
    refused(ARGUMENT, "a frame lies 1e|a frame lies 1000000000", native.push, stream, clip[:2], np.array([0.0, 1e9]))
    native.push(stream, clip[:20], times_s[:20])
    refused(ARGUMENT, r"times_s\[0\] is 1.0.*decrease", native.push, stream, clip[:1], np.ones(1))
    refused(FRAMES, "without times, earlier frames have times", native.push, stream, clip[:1])
    refused(FRAMES, "of 8 bits, earlier frames have 16", native.push, stream, grey[:1], times_s[20:21])
    refused(FRAMES, "a frame is 31x24, earlier", native.push, stream, clip[:1, :, 1:], times_s[20:21])
    native.push(stream, clip[20:], times_s[20:])
    native.call("infdet_flush", stream)  # refused calls have changed nothing
    stream = native.open_stream(model, 9.0)
    native.push(stream, grey[:20])
    refused(FRAMES, "of 16 bits, earlier frames have 8", native.push, stream, clip[:1])
    refused(FRAMES, "with times, earlier frames have none", native.push, stream, grey[:1], times_s[:1])


def test_bundles_with_range_levels(native, changed):
    """They refuse counts."""
    clip = scene(40, 9.0, np.uint8)
    model = native.open(changed("preprocessing", "levels", "range"))
    stream = native.open_stream(model, 9.0)
    refused(ARGUMENT, "range of a whole recording.*8 bits first", native.push, stream, clip.astype(np.uint16))
    native.push(stream, clip)  # refused calls have changed nothing
    native.call("infdet_flush", stream)
    native.close(model)


def test_bundles_without_a_frame_rate(native, bundle, changed):
    """Background levels of uneven times; detections' times follow from the stream's rate."""
    clip, times_s = scene(520, 4.0, np.uint16), uneven(520, 4.0)
    path = changed("preprocessing", "frame_rate", None)
    model = native.open(path)
    levels = BackgroundLevels(causal=False)
    ready = [one for pair in zip(resize(clip, 32), times_s - times_s[0], strict=True) for one in levels.push(*pair)]
    frames = np.stack([frame for frame, _ in ready + levels.finish()])
    with Detector(path) as detector:
        reference = detector.detect(Video("clip", frames, 5.0, np.arange(520) / 5.0))
    stream = native.open_stream(model, 5.0)
    assert_same(streamed(native, model, stream, clip, times_s, 100), as_tuples(reference))
    native.close(model)


@pytest.mark.parametrize(
    ("part", "key", "value", "accepted"),
    [
        ("preprocessing", "levels", "range", True),
        ("preprocessing", "levels", "backdrop", False),
        ("preprocessing", "levels", None, False),
        ("preprocessing", "levels", ["range"], False),
        ("preprocessing", "frame_rate", None, True),
        ("preprocessing", "frame_rate", 9, True),
        ("preprocessing", "frame_rate", 0, False),
        ("preprocessing", "frame_rate", 0.5, False),
        ("preprocessing", "frame_rate", 1e300, False),
        ("preprocessing", "frame_rate", -9.5, False),
        ("preprocessing", "frame_rate", "9", False),
        ("preprocessing", "frame_rate", True, False),
        ("rule", "ends", "published", True),
        ("rule", "ends", "sharp", False),
        ("rule", "ends", None, False),
        ("rule", "ends", 1, False),
    ],
)
def test_manifests_are_read_as_in_python(native, changed, part, key, value, accepted):
    path = changed(part, key, value)
    if accepted:
        load_bundle(path)
        native.close(native.open(path))
        return
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(path)
    refused(BUNDLE, f"is damaged: manifest.*{key} is not", native.open, path)

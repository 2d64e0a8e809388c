"""libinfdet compared with Python's runtime: equal detections and live events in each precision."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, write_manifest
from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.window import SlidingWindow
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.video import Video, read_video
from infdet_deploy.video.resize import resize
from infdet_deploy.video.sample import sample_frames
from tests.cpp.library import BACKEND, Failed
from tests.paths import LEPTON
from tests.processor import HAS_INT8, needs_vnni

FPS = 25.0
RECORDING = LEPTON


@pytest.fixture(scope="module")
def stepped(tmp_path_factory, stream_bundle, tiny_network):
    """A small bundle in float32 and int8 with incremental towers; tests change its rule."""
    from tests.cpp.int8_bundle import add_int8

    path = Path(shutil.copytree(stream_bundle, tmp_path_factory.mktemp("stepped") / "stepped.infdet"))
    add_int8(path, tiny_network)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`exported(PRECISION, **changes)`: a bundle smaller than tiny, in one precision."""
    pytest.importorskip("torch")
    from infdet_deploy.exporting.bundle import export_bundle
    from infdet_deploy.exporting.options import ExportOptions
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network

    def make(precision, **changes):
        network = random_network(dataclasses.replace(preset("tiny"), channel_divisor=8, **changes), seed=5)
        out = tmp_path_factory.mktemp("exported") / "small.infdet"
        options = ExportOptions((precision,), formats=("onnx",), incremental=False, weights=False)
        return export_bundle(network, out, options)

    return make


def at_the_median(bundle, clips, precision="float32"):
    """Set thresholds to the median score of each class, and keep short runs."""
    with Detector(bundle, precision=precision) as detector:
        size, mode = detector.bundle.size, detector.bundle.preparation.mode
        scores = np.concatenate([detector.scores(resize(clip, size, mode)) for clip in clips])
    thresholds = [float(score) for score in np.median(scores, axis=0)]
    rule = {"thresholds": thresholds, "mean_duration_s": [0.2] * len(thresholds), "split_long": False}
    content = json.loads((bundle / MANIFEST).read_text())
    write_manifest(bundle, {**content, "rule": rule}, staging=bundle.parent)


def as_tuples(detections):
    return [(d.label, d.start_s, d.end_s, d.score) for d in detections]


def assert_same(ours, reference):
    assert reference
    assert [d[:3] for d in ours] == [d[:3] for d in reference]
    assert [d[3] for d in ours] == pytest.approx([d[3] for d in reference], abs=1e-6)


def assert_parity(native, bundle, clips, precision="float32"):
    """Compare detections as clips and as streams. clips: uint8 [T, H, W] each."""
    model = native.open(bundle, precision=precision)
    with Detector(bundle, precision=precision) as detector:
        for clip in clips:
            frames = resize(clip, detector.bundle.size, detector.bundle.preparation.mode)
            reference = as_tuples(detector.detect(Video("clip", frames, FPS, len(frames) / FPS)))
            assert_same(native.detect(model, clip, FPS), reference)
            stream = native.open_stream(model, FPS)
            for begin in range(0, len(clip), 33):
                native.push(stream, clip[begin : begin + 33])
            native.call("infdet_flush", stream)
            assert_same(native.polled(model, stream), reference)
            native.call("infdet_close_stream", stream)
    native.close(model)


@pytest.fixture(scope="module")
def clips(nine_clips):
    return [read_video(path).frames for path in sorted((nine_clips / "videos").iterdir())[:2]]


@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=needs_vnni)])
def test_synthetic_clips(native, stepped, clips, precision):
    at_the_median(stepped, clips, precision)
    assert_parity(native, stepped, clips, precision)


@pytest.mark.skipif(HAS_INT8, reason="this processor has VNNI")
def test_int8_that_would_saturate_is_refused(native, stepped):
    with pytest.raises(
        Failed, match=r"no VNNI, without which sums of int8 products overflow in openvino; use float32"
    ) as caught:
        native.open(stepped, precision="int8")
    assert caught.value.status == BACKEND


def test_bfloat16(native, exported, clips):
    bundle = exported("bfloat16")
    at_the_median(bundle, clips, "bfloat16")
    assert_parity(native, bundle, clips, "bfloat16")


def test_the_lepton_recording(native, stepped):
    if not RECORDING.exists():
        pytest.skip(f"{RECORDING} is not here")
    clip = read_video(RECORDING).frames
    assert clip.shape == (100, 120, 160)
    at_the_median(stepped, [clip])
    assert_parity(native, stepped, [clip])


def test_recognition(native, exported):
    bundle = exported("float32", task="recognition", streams="infrared", fusion="none")
    assert_parity(native, bundle, [sample_frames(frames, 64, seed=1) for frames in (16, 77)])
    with pytest.raises(Exception, match="recognises whole clips; it has no live events"):
        native.open(bundle, live=1)


def features_as_they_come(bundle, clip, precision):
    """Features that `watch` computes from 8 frames at a time: (first frame, frames, features) per push; the last."""
    with StreamModel(bundle, precision=precision) as model:
        stream = model.stream()
        pushed = [(begin, clip[begin : begin + 8]) for begin in range(0, len(clip), 8)]
        return [(begin, len(frames), stream.push(frames)) for begin, frames in pushed], stream.flush()


def by_watch(head, bundle, computed, window_s, every):
    """The events of `watch` for these features: (frames pushed so far, *detection)."""
    pushed, last = computed
    window, events = SlidingWindow(head.session(), bundle.classes, bundle.rule, window_s, every), []
    for begin, count, features in pushed:
        times = (begin + np.arange(count)) / FPS
        events += [(begin + count, f.detection) for f in window.push(features, times, FPS)]
    events += [(begin + count + 1, found.detection) for found in window.finish(last, FPS)]
    return [(when, *one) for (when, _), one in zip(events, as_tuples(d for _, d in events), strict=True)]


def by_live_stream(native, model, clip, window_s, every, at_once):
    stream, events = native.open_live(model, FPS, window_s, every), []
    for begin in range(0, len(clip), at_once):
        native.push(stream, clip[begin : begin + at_once])
        upto = min(begin + at_once, len(clip))
        events += [(upto, *one) for one in native.polled(model, stream)]
    native.call("infdet_flush", stream)
    events += [(len(clip) + 1, *one) for one in native.polled(model, stream)]
    native.call("infdet_close_stream", stream)
    return events


@pytest.mark.parametrize(
    ("precision", "windows"),
    [
        ("float32", ((120.0, 4, 1), (5.0, 4, 50), (6.0, 7, 3))),
        pytest.param("int8", ((5.0, 4, 1),), marks=needs_vnni),
    ],
)
def test_live_events_match_watch(native, stepped, precision, windows):
    """Equal events at equal times, however the frames are divided among pushes."""
    clip = sample_frames(243, 64, seed=2)
    at_the_median(stepped, [clip], precision)
    bundle = load_bundle(stepped)
    computed = features_as_they_come(bundle, clip, precision)
    head = LiveHead(bundle, precision=precision)
    model = native.open(stepped, live=1, precision=precision)
    for window_s, every, at_once in windows:
        reference = by_watch(head, bundle, computed, window_s, every)
        events = by_live_stream(native, model, clip, window_s, every, 8)
        assert [e[0] for e in events] == [e[0] for e in reference]
        assert_same([e[1:] for e in events], [e[1:] for e in reference])
        assert any(when <= len(clip) for when, *_ in events)
        others = by_live_stream(native, model, clip, window_s, every, at_once)
        assert [e[1:] for e in others] == [e[1:] for e in events]
    head.close()
    native.close(model)

"""libinfdet against Python's runtime: the same backend and precision, the same detections and live events."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.window import Window
from infdet_deploy.runtime.bundle import load_bundle
from infdet_deploy.runtime.manifest import MANIFEST, write_manifest
from infdet_deploy.runtime.pipeline import Detector
from infdet_deploy.runtime.stream import StreamModel
from infdet_deploy.video import Video, read_video
from infdet_deploy.video.resize import resize
from infdet_deploy.video.sample import sample_frames
from tests.conftest import made_once

FPS = 25.0
RECORDING = Path(__file__).parents[3] / "shared" / "data" / "thermal" / "lepton_160x120_100frames.cptv"


@pytest.fixture(scope="module")
def precise_bundle(tmp_path_factory):
    """Preset `tiny` with random weights in float32, bfloat16 and int8."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from infdet_deploy.export.random_bundle import export_random

    return made_once(tmp_path_factory, "cpp.infdet", lambda out: export_random("tiny", out, ("bfloat16", "int8")))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """`small(**changes)`: the bundle of a network smaller than tiny, which a keyword of `export_bundle` may change."""
    pytest.importorskip("torch")
    from infdet_deploy.export.bundle import export_bundle
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network

    def make(name, stream, **changes):
        config = dataclasses.replace(preset("tiny"), channel_divisor=8, **changes)
        options = {"precisions": ("float32",), "formats": ("onnx",), "include_weights": False, "stream": stream}
        return made_once(
            tmp_path_factory, name, lambda out: export_bundle(random_network(config, seed=5), out, **options)
        )

    return make


def at_the_median(bundle, clips, precision="float32"):
    """Write a rule that has half of the clips' scores on either side and keeps short runs."""
    with Detector(bundle, precision=precision) as detector:
        size, mode = detector.bundle.size, detector.bundle.frame_mode
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
    """clips: uint8 [T, H, W] each. As clips and as streams."""
    model = native.open(bundle, precision=precision)
    with Detector(bundle, precision=precision) as detector:
        for clip in clips:
            frames = resize(clip, detector.bundle.size, detector.bundle.frame_mode)
            reference = as_tuples(detector.detect(Video("clip", frames, FPS, len(frames) / FPS)))
            assert_same(native.detect(model, clip, FPS), reference)
            stream = native.open_stream(model, FPS)
            for begin in range(0, len(clip), 33):
                native.push(stream, clip[begin : begin + 33])
            native.call("infdet_flush", stream)
            assert_same(native.polled(model, stream), reference)
            native.call("infdet_close_stream", stream)
    native.close(model)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_synthetic_clips(native, precise_bundle, nine_clips, precision):
    clips = [read_video(path).frames for path in sorted((nine_clips / "videos").iterdir())[:2]]
    at_the_median(precise_bundle, clips, precision)
    assert_parity(native, precise_bundle, clips, precision)


def test_the_lepton_recording(native, precise_bundle):
    if not RECORDING.exists():
        pytest.skip(f"{RECORDING} is not here")
    clip = read_video(RECORDING).frames
    assert clip.shape == (100, 120, 160)
    at_the_median(precise_bundle, [clip])
    assert_parity(native, precise_bundle, [clip])


def test_recognition(native, small):
    bundle = small("recognition.infdet", False, task="recognition", streams="infrared", fusion="none")
    assert_parity(native, bundle, [sample_frames(frames, 64, seed=1) for frames in (16, 77)])
    with pytest.raises(Exception, match="recognises whole clips, and has no events"):
        native.open(bundle, live=1)


def by_watch(bundle, clip, window_s, every):
    """What `watch` gives for the clip, which it takes 8 frames at a time: when, as a number of frames, and what."""
    head, events = LiveHead(bundle), []
    with StreamModel(bundle) as model:
        window, stream = Window(head.session(), bundle.classes, bundle.rule, window_s, every), model.stream()
        for begin in range(0, len(clip), 8):
            frames = clip[begin : begin + 8]
            times = (begin + np.arange(len(frames))) / FPS
            events += [(begin + len(frames), f.detection) for f in window.push(stream.push(frames), times, FPS)]
        events += [(len(clip) + 1, found.detection) for found in window.finish(stream.flush(), FPS)]
    head.close()
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


def test_live_events_are_those_of_watch(native, small, tmp_path):
    """Event for event: when it comes, what it says; however the frames are divided among pushes."""
    # the bundle of tests/runtime/test_stream.py, which is then made once for both
    path = Path(shutil.copytree(small("stream.infdet", True), tmp_path / "live.infdet"))
    clip = sample_frames(403, 64, seed=2)
    at_the_median(path, [clip])
    bundle = load_bundle(path)
    model = native.open(path, live=1)
    for window_s, every in ((120.0, 4), (4.0, 4), (6.0, 7)):
        reference = by_watch(bundle, clip, window_s, every)
        events = by_live_stream(native, model, clip, window_s, every, 8)
        assert [e[0] for e in events] == [e[0] for e in reference]
        assert_same([e[1:] for e in events], [e[1:] for e in reference])
        assert any(when <= len(clip) for when, *_ in events)
        for at_once in (1, 50):
            others = by_live_stream(native, model, clip, window_s, every, at_once)
            assert [e[1:] for e in others] == [e[1:] for e in events]
    native.close(model)

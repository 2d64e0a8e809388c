"""`watch`: several sources through one compiled network, in any precision, each as if it were alone."""

import json
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import openvino
import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, write_manifest
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.options import WatchOptions
from infdet_deploy.live.watch import watch
from infdet_deploy.live.window import SlidingWindow
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.video.sample import sample_frames
from tests.live.fakes import FakeSource
from tests.video.recordings import write_video

FRAMES, FPS = 203, 25.0


def middle_of(path, clips, precision="float32"):
    """Thresholds that have half of the clips' scores on either side."""
    with Detector(path, precision=precision) as detector:
        scores = np.concatenate([detector.scores(clip) for clip in clips])
    return [float(score) for score in np.median(scores, axis=0)]


@pytest.fixture(scope="module")
def clips():
    return {name: sample_frames(FRAMES, 64, seed=seed) for seed, name in enumerate(("hall", "gate"))}


@pytest.fixture(scope="module")
def files(tmp_path_factory, clips):
    folder = tmp_path_factory.mktemp("clips")
    return [write_video(folder / f"{name}.mkv", clip, "ffv1", "gray") for name, clip in clips.items()]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, stream_bundle, clips):
    return with_rule(stream_bundle, tmp_path_factory.mktemp("copy") / "live.infdet", clips, "float32")


def with_rule(original, path, clips, precision):
    """A copy of a bundle with thresholds at which these clips have events."""
    shutil.copytree(original, path)
    thresholds = middle_of(path, clips.values(), precision)
    rule = {"thresholds": thresholds, "mean_duration_s": [0.2] * len(thresholds), "split_long": False}
    write_manifest(path, {**json.loads((path / MANIFEST).read_text()), "rule": rule}, staging=path.parent)
    return path


def watched(bundle, sources, out, precision="float32", every=0):
    """The events of `watch`, by camera: class, start, end and score."""
    result = watch(bundle, list(map(str, sources)), WatchOptions(every=every, precision=precision, out=out))
    assert [camera.error for camera in result.cameras] == [None] * len(sources)
    assert result.undelivered == {}
    found = {source.stem: [] for source in sources}
    for one in map(json.loads, out.read_text().splitlines()):
        found[one["camera"]].append((one["class"], one["end_unix"] - one["start_unix"], one["score"]))
    return found


def offline(bundle, path, precision="float32"):
    with Detector(bundle, precision=precision) as detector:
        return [(d.label, d.end_s - d.start_s, d.score) for d in detector.analyse(path).detections]


def assert_same(ours, reference):
    assert len(reference) > 1
    assert [one[0] for one in ours] == [one[0] for one in reference]
    assert np.array([one[1:] for one in ours]) == pytest.approx(np.array([one[1:] for one in reference]), abs=1e-3)


def test_two_sources_share_one_compiled_network(bundle, files, tmp_path, monkeypatch, capsys):
    compiled = []
    plain = openvino.Core.compile_model
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *a, **k: compiled.append(a) or plain(*a, **k))
    monkeypatch.setenv("INFDET_CACHE", "0")  # so that everything is compiled here
    found = watched(bundle, files, tmp_path / "events.jsonl")
    assert len(compiled) == 4  # flow estimation, two towers, head
    for path in files:
        assert_same(found[path.stem], offline(bundle, path))
    told = capsys.readouterr().err
    assert "sources: 2, one network for all; state: " in told
    assert f"hall: {FRAMES} frames, 0 dropped, {len(found['hall'])} events; a step took 0." in told


def test_a_pause_and_a_lost_frame_give_what_detect_finds(bundle, clips, tmp_path):
    pts = [40 * n + 60_000 * (n >= 103) for n in range(FRAMES) if n != 50]
    path = write_video(tmp_path / "hall.mkv", np.delete(clips["hall"], 50, axis=0), "ffv1", "gray", pts=pts)
    ours = watched(bundle, [path], tmp_path / "events.jsonl")["hall"]
    assert_same(sorted(ours, key=lambda one: one[2]), sorted(offline(bundle, path), key=lambda one: one[2]))


def test_events_reach_a_python_caller_until_it_stops(bundle, files):
    stop, events = threading.Event(), []

    def on_event(event):
        events.append(event)
        stop.set()

    result = watch(bundle, [str(files[0])], WatchOptions(names=("door",), window_s=4.0), on_event, stop)
    (camera,) = result.cameras
    assert camera.name == "door"
    assert camera.events == len(events) > 0
    assert {event.camera for event in events} == {"door"}
    assert result.to_dict()["cameras"][0]["frames"] == camera.frames


def test_requests_that_cannot_work_are_refused_before_anything_is_opened(bundle, tiny_bundle, files):
    file = str(files[0])
    with pytest.raises(UsageError, match=r"no incremental towers.*infdet-deploy export RUN"):
        watch(tiny_bundle, [file])
    with pytest.raises(UsageError, match="1 sources but 2 names"):
        watch(bundle, [file], WatchOptions(names=("a", "b")))
    with pytest.raises(UsageError, match="two sources are called 'hall'"):
        watch(bundle, [file, file])
    for endless in ("rtsp://host/a", "v4l2:/dev/null"):
        with pytest.raises(UsageError, match=r"--every 0 decides at a file's end, and .* has none"):
            watch(bundle, [endless], WatchOptions(every=0))
    with pytest.raises(VideoError, match=r"/none\.mp4: no such file"):
        watch(bundle, ["file:///none.mp4"], WatchOptions(every=0))
    for option, value in (("window_s", 0.0), ("every", -1), ("clips_max_gb", 0.0), ("precision", "float8")):
        with pytest.raises(UsageError, match=str(value)):
            WatchOptions(**{option: value})
    assert WatchOptions(precision="fp16").precision == "float16"


@pytest.mark.parametrize("every", [4])
def test_two_cameras_give_what_each_gives_alone(bundle, clips, every):
    loaded = load_bundle(bundle)
    rule = DetectionRule(tuple(loaded.rule.thresholds), loaded.rule.mean_duration_s)
    head = LiveHead(loaded)
    with StreamModel(loaded, step_frames=16) as model:

        def through(names):
            events, lock = {name: [] for name in names}, threading.Lock()

            def emit(one):
                with lock:
                    events[one.camera].append((one.label, one.start, one.end, one.score))

            cameras = []
            for name in names:
                shown = [
                    SimpleNamespace(picture=picture, time=1000 + index / FPS, index=index, gap=False)
                    for index, picture in enumerate(clips[name])
                ]
                window = lambda: SlidingWindow(head.session(), loaded.classes, rule, 4.0, every)  # noqa: E731
                cameras.append(Camera(FakeSource(shown, name, FPS), model.stream, window, emit, "b"))
            for one in cameras:
                one.start()
            assert all(one.join(60) for one in cameras)
            assert sum(one.failures for one in cameras) == 0
            return events, cameras

        together, cameras = through(["hall", "gate"])
        for name in clips:
            assert together[name] == through([name])[0][name]
            assert len(together[name]) > 1
        stages = loaded.incremental.state_bytes.values()
        assert [one.state_bytes for one in cameras] == [sum(stages) + 17 * 64 * 64] * 2
    head.close()


def test_int8_watches_as_it_detects(int8_stream_bundle, clips, files, tmp_path):
    bundle = with_rule(int8_stream_bundle, tmp_path / "int8.infdet", clips, "int8")
    found = watched(bundle, files[:1], tmp_path / "events.jsonl", "int8")
    assert_same(found["hall"], offline(bundle, files[0], "int8"))

"""From frames to detections: chunks, backends and the network agree."""

from types import SimpleNamespace

import numpy as np
import pytest

from infdet_deploy.errors import BackendError, InfdetError, UsageError, VideoError
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.runtime.backends.registry import is_available
from infdet_deploy.runtime.chunks import chunks
from infdet_deploy.runtime.detector import FEN_BLOCK, Detector
from infdet_deploy.runtime.results import checked_scores
from infdet_deploy.snippets import feature_length
from infdet_deploy.video import Video


@pytest.fixture(scope="module")
def detector(tiny_bundle):
    with Detector(tiny_bundle) as ready:
        yield ready


@pytest.fixture(scope="module")
def small(stream_bundle):
    """A network of half the width, for what takes many runs."""
    with Detector(stream_bundle) as ready:
        yield ready


def video(frames) -> Video:
    return Video("clip", frames, 25.0, len(frames) / 25.0)


@pytest.mark.parametrize("snippets", [1, 2, 5, 8])
@pytest.mark.parametrize("frames", [180, 197, 212, 240])
def test_features_of_chunks_equal_those_of_the_clip(small, tiny_clip, frames, snippets, monkeypatch):
    clip = tiny_clip(frames)
    whole = small.features(clip)
    assert len(list(chunks(frames // 4 * 4, snippets))) > 1
    monkeypatch.setattr(small, "chunk_snippets", snippets)
    found = small.features(clip)
    assert set(found) == set(whole) == {"infrared_features", "flow_features"}
    for name, reference in whole.items():
        ours = found[name]
        assert ours.shape == reference.shape == (feature_length(frames // 4 * 4), 128)
        assert np.abs(ours - reference).max() <= 1e-5 * max(1.0, np.abs(reference).max())


def test_flow_of_the_last_frame_is_zero(detector, tiny_clip):
    clip = tiny_clip(80)
    flow = detector.flow(clip, 0, 80)
    assert flow.shape == (80, 3, 16, 16)
    assert not flow[-1].any()
    assert np.abs(flow[:-1]).max(axis=(1, 2, 3)).min() > 0
    part = detector.flow(clip, 16, 72)
    assert np.abs(part - flow[16:72]).max() <= 1e-5
    assert part[-1].any()


def test_flow_is_an_array_in_memory_on_every_backend(detector, tiny_clip, monkeypatch):
    """Computed in blocks, also where the towers take the flow from the GPU."""
    gpu = SimpleNamespace(capabilities=SimpleNamespace(on_gpu=True))
    clip, blocks = tiny_clip(150), []
    expected, compute = detector.flow(clip, 0, 150), detector.stages["fen"].run

    def run(feeds):
        blocks.append(len(feeds["frames"]))
        return compute(feeds)

    monkeypatch.setattr("infdet_deploy.runtime.detector.get_backend", lambda _: gpu)
    monkeypatch.setattr(detector.stages["fen"], "run", run)
    flow = detector.flow(clip, 0, 150)
    assert isinstance(flow, np.ndarray)
    assert flow.dtype == np.float32
    assert np.array_equal(flow, expected)
    assert blocks == [FEN_BLOCK + 1, FEN_BLOCK + 1, 150 - 2 * FEN_BLOCK + 1]


@pytest.mark.parametrize("frames", [16, 23, 100])
def test_scores_equal_the_networks(detector, tiny_network, tiny_clip, frames):
    torch = pytest.importorskip("torch")
    from infdet_deploy.model.network import to_grey

    clip = tiny_clip(frames)
    with torch.inference_mode():
        output = tiny_network(to_grey(torch.from_numpy(clip[: frames // 4 * 4]))[None], frames // 8)
        scores = torch.sigmoid(output.logits[0]).numpy()
    timings: dict[str, float] = {}
    ours = detector.scores(clip, timings)
    assert ours.dtype == np.float32
    assert ours.shape == scores.shape == (feature_length(frames // 4 * 4), 3)
    assert np.abs(ours - scores).max() <= 1e-4
    assert set(timings) == {"fen", "infrared_tower", "flow_tower", "head"}
    assert min(timings.values()) > 0


@pytest.mark.parametrize("backend", ["onnxruntime", "torchscript"])
def test_detections_are_the_same_on_every_backend(detector, tiny_bundle, tiny_clip, backend):
    if not is_available(backend):
        pytest.skip(f"{backend} is not installed")
    # a threshold between scores, so that there is something to find
    clip = video(tiny_clip(120))
    reference = detector.detect(clip)
    assert reference
    with Detector(tiny_bundle, backend) as other:
        assert np.abs(other.scores(clip.frames) - detector.scores(clip.frames)).max() <= 1e-4
        ours = other.detect(clip)
    assert [(d.label, d.start_s, d.end_s) for d in ours] == [(d.label, d.start_s, d.end_s) for d in reference]
    assert [d.score for d in ours] == pytest.approx([d.score for d in reference], abs=1e-4)
    assert all(0 <= d.start_s < d.end_s <= clip.duration_s + 1e-9 for d in reference)


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (np.zeros((20, 64, 64), np.float32), InfdetError, "float32"),
        (np.zeros((20, 32, 64), np.uint8), InfdetError, "expected uint8"),
        (np.zeros((20, 64, 64, 3), np.uint8), InfdetError, "expected uint8"),
        (np.zeros((15, 64, 64), np.uint8), VideoError, "clip has 15 frames; at least 16"),
    ],
)
def test_wrong_frames_are_refused(detector, frames, error, message):
    with pytest.raises(error, match=message):
        detector.features(frames)


def test_non_contiguous_frames(detector, tiny_clip):
    clip = tiny_clip(48)
    assert np.array_equal(detector.scores(clip[::2]), detector.scores(clip[::2].copy()))


def test_unknown_backend_and_precision(tiny_bundle):
    with pytest.raises(UsageError, match="no backend 'tensorflow'; backends are openvino"):
        Detector(tiny_bundle, "tensorflow")
    with pytest.raises(UsageError, match="float64"):
        Detector(tiny_bundle, precision="float64")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((4, 3), np.int64), r"gave scores int64 \[4, 3\], expected floats \[5, classes\]"),
        (np.zeros((1, 3), np.float32), r"gave scores float32 \[1, 3\]"),
        (np.zeros(5, np.float32), r"gave scores float32 \[5\]"),
        (np.full((5, 3), np.nan, np.float32), "not numbers; try float32"),
        (np.full((5, 3), 7.0, np.float32), "gave a score of 7, expected 0 to 1"),
        (np.full((5, 3), -0.5, np.float32), r"gave a score of -0\.5, expected 0 to 1"),
    ],
)
def test_what_cannot_be_scores_is_refused(scores, message):
    with pytest.raises(InfdetError, match=message):
        checked_scores(scores, 5, "openvino float32")
    right = np.full((5, 3), 1.0, np.float32)
    assert checked_scores(right, 5, "openvino float32") is right


class Failing(CompiledStage):
    def compute(self, feeds):
        raise RuntimeError("std::bad_alloc\n  at src/memory.cpp:12\n  at src/graph.cpp:99")

    def close(self):
        pass


def test_a_backend_that_fails_while_it_computes_is_one_line():
    stage = Failing(("frames",), ("features",))
    stage.what = "openvino head.float32.onnx"
    with pytest.raises(BackendError) as caught:
        stage.run({"frames": np.zeros((1, 8, 64, 64), np.float32)})
    assert str(caught.value).startswith("openvino head.float32.onnx fails on frames [1, 8, 64, 64]: std::bad_alloc; ")
    assert len(str(caught.value).splitlines()) == 1

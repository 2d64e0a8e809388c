"""Features of a clip that arrives in parts compared with those of the whole clip."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.errors import BundleError, InfdetError, ParityError, UsageError
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.incremental.tower import build_incremental_tower
from infdet_deploy.exporting.incremental.write import write_incremental
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.snippets import feature_length
from infdet_deploy.video.sample import sample_frames
from tests.runtime.backends.tensorrt.judge import built_for_rtx


@pytest.fixture(scope="module")
def bundle(stream_bundle):
    return load_bundle(stream_bundle)


@pytest.fixture(scope="module")
def detector(bundle):
    with Detector(bundle) as found:
        yield found


def through(stream, frames, sizes):
    """The features when frames come in parts of these sizes, in turn."""
    parts, at, turn = [], 0, 0
    while at < len(frames):
        parts.append(stream.push(frames[at : at + sizes[turn % len(sizes)]]))
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    parts.append(stream.flush())
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize("step_frames", [8, 32])
def test_features_of_the_whole_clip(bundle, detector, step_frames):
    """20 lengths for each step, every remainder of 8 among them, in parts of random sizes."""
    random = np.random.default_rng(step_frames)
    lengths = [*range(16, 28), *random.integers(28, 200, 8)]
    assert {length % 8 for length in lengths} == set(range(8))
    with StreamModel(bundle, step_frames=step_frames) as model:
        for length in lengths:
            frames = sample_frames(int(length), bundle.size, seed=int(length))
            ours = through(model.stream(), frames, random.integers(1, 50, 5).tolist())
            whole = detector.features(frames)
            assert set(ours) == {"infrared_features", "flow_features"}
            for name, reference in whole.items():
                assert ours[name].shape == reference.shape == (feature_length(int(length) // 4 * 4), reference.shape[1])
                assert compare(ours[name], reference).relative_l2 <= 1e-5, (length, name)
            found, expected = (
                detector.detections(detector.scores_of(features, int(length)), int(length), 25.0)
                for features in (ours, whole)
            )
            assert [d[:3] for d in map(dataclasses.astuple, found)] == [
                d[:3] for d in map(dataclasses.astuple, expected)
            ]


def test_features_are_returned_as_soon_as_they_are_final(bundle):
    with StreamModel(bundle, step_frames=8) as model:
        stream = model.stream()
        frames = sample_frames(160, bundle.size)
        rows = np.cumsum([len(stream.push(frames[at : at + 8])["flow_features"]) for at in range(0, 160, 8)])
    # row j after frame 8j + 15 + delay
    due = [max(0, (came - 16 - model.delay_frames) // 8 + 1) for came in range(8, 161, 8)]
    assert rows.tolist() == due
    assert model.delay_frames == 48
    assert 0 < stream.state_bytes < 10e6


def test_streams_are_independent(bundle, detector):
    clips = [sample_frames(n, bundle.size, seed=n) for n in (77, 100)]
    with StreamModel(bundle, step_frames=16) as model:
        streams = [model.stream() for _ in clips]
        parts = [[], []]
        for at in range(0, 112, 7):
            for clip, stream, part in zip(clips, streams, parts, strict=True):
                part.append(stream.push(clip[at : at + 7]))
        for stream, part in zip(streams, parts, strict=True):
            part.append(stream.flush())
    for clip, part in zip(clips, parts, strict=True):
        for name, reference in detector.features(clip).items():
            assert compare(np.concatenate([p[name] for p in part]), reference).relative_l2 <= 1e-5


def test_stream_refuses_wrong_frames_and_options(bundle, tiny_bundle):
    with StreamModel(bundle) as model:
        stream = model.stream()
        with pytest.raises(InfdetError, match=r"frames are float64 \[1, 64, 64\], expected uint8 \[n, 64, 64\]"):
            stream.push(np.zeros((1, 64, 64)))
        assert [len(rows) for rows in stream.flush().values()] == [0, 0]
        with pytest.raises(InfdetError, match="this stream was flushed; start a new one"):
            stream.push(np.zeros((1, 64, 64), np.uint8))
        with pytest.raises(InfdetError, match="this stream was already flushed"):
            stream.flush()
    with pytest.raises(BundleError, match="has no incremental towers; export it again with infdet-deploy export RUN"):
        StreamModel(tiny_bundle)
    with pytest.raises(UsageError, match="step_frames is 12, expected a multiple of 8"):
        StreamModel(bundle, step_frames=12)
    with pytest.raises(UsageError, match="torchscript does not run incremental towers"):
        StreamModel(bundle, "torchscript")


@pytest.mark.parametrize("tower", ["infrared_tower", "flow_tower"])
def test_incremental_towers_with_3d_operators_are_the_same(tiny_network, tower):
    flat, deep = (build_incremental_tower(tower, tiny_network, torch.float32, in_3d=in_3d) for in_3d in (False, True))
    x = torch.from_numpy(sample_frames(96, 64, seed=4))
    if tower == "flow_tower":
        x = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(4)).tanh()
    states = twins = flat.first_states(x[:8])
    positions = torch.arange(-flat.schedule.history, 96)
    inside = ((positions >= 0) & (positions < 84)).float()  # the clip ends within the last step
    at, ours, theirs = 0, [], []
    for frames in (8, 32, 24, 32):
        mask = inside[at : at + flat.schedule.history + frames]
        rows, states = flat(x[at : at + frames], mask, states)
        twin_rows, twins = deep(x[at : at + frames], mask, twins)
        ours.append(rows)
        theirs.append(twin_rows)
        at += frames
    for one, other in ((torch.cat(ours), torch.cat(theirs)), *zip(states, twins, strict=True)):
        assert compare(other.numpy(), one.numpy()).relative_l2 <= 1e-5


def test_a_wrong_incremental_tower_is_not_exported(bundle, tiny_network, tmp_path, monkeypatch):
    """Without masks, layers see nonzero values outside the clip."""
    onnx = pytest.importorskip("onnx")

    def without_masks(name, stage, spec, example, file):
        model = onnx.load(str(bundle.stage_file(name, "float32")))
        for node in model.graph.node:
            node.input[:] = ["everywhere" if one == "inside" else one for one in node.input]
        makes = [("Mul", ["inside", "nothing"], "none"), ("Add", ["none", "all"], "everywhere")]
        for at, (kind, inputs, output) in enumerate(makes):
            model.graph.node.insert(at, onnx.helper.make_node(kind, inputs, [output]))
        for name, value in (("nothing", 0), ("all", 1)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value).reshape(()), name))
        onnx.save(model, str(file))

    draft = infrared_draft(tiny_network, tmp_path, "float32")
    monkeypatch.setattr("infdet_deploy.exporting.incremental.write.export_onnx", without_masks)
    with pytest.raises(ParityError, match=r"infrared_tower_stream float32.*relative L2"):
        write_incremental(draft)
    assert "stream" not in draft.manifest


def infrared_draft(network, folder, precision):
    """A bundle in progress of the infrared tower alone."""
    tower = "infrared_tower"
    manifest = {"stages": {tower: {}}, "parity": {precision: {}}}
    clips = [eager_tensors(network, sample_frames(20, 64))]
    specs = {tower: stage_specs(network)[tower]}
    return Draft(folder, network, ExportOptions(), specs, clips, manifest, starts={precision: {}})


def test_a_float16_tower_out_of_tolerance_starts_later(tiny_network, tmp_path, monkeypatch):
    outcomes = iter([ParityError("out of tolerance"), 5e-3])

    def worst_error(*_):
        outcome = next(outcomes)
        if isinstance(outcome, ParityError):
            raise outcome
        return outcome

    monkeypatch.setattr("infdet_deploy.exporting.incremental.write.worst_error", worst_error)
    draft = infrared_draft(tiny_network, tmp_path, "float16")
    write_incremental(draft)
    entry = draft.manifest["parity"]["float16"]["infrared_tower_stream"]
    assert entry["float32_before"] == "MaxPool3d_2a_3x3"
    assert entry["onnx"] == 5e-3
    assert entry["operators"]["float32"] == 1
    assert draft.manifest["stream"]["stages"]["infrared_tower_stream"]["files"]["onnx"] == {
        "float16": "infrared_tower_stream.float16.onnx"
    }


@pytest.mark.parametrize("check", ["check_2d", "check_precision"])
def test_a_wrong_graph_stops_the_export_at_once(tiny_network, tmp_path, monkeypatch, check):
    calls = []

    def refuse(*_):
        calls.append(check)
        raise ParityError("refusing to write it")

    monkeypatch.setattr(f"infdet_deploy.exporting.incremental.write.{check}", refuse)
    with pytest.raises(ParityError, match="refusing"):
        write_incremental(infrared_draft(tiny_network, tmp_path, "float16"))
    assert calls == [check]


@pytest.mark.parametrize("tower", ["infrared_tower", "flow_tower"])
def test_tensorrt_rtx_builds_incremental_towers(bundle, tower):
    stage = f"{tower}_stream"
    built = built_for_rtx(bundle.stage_file(stage, "float32"), bundle.entry(stage).inputs)
    assert built.convolutions["float32"] >= 57

"""int8 stages: their graphs, their error, the layers kept in float32, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import numpy_helper

from infdet_deploy.bundle.loading import NETWORK, load_bundle
from infdet_deploy.bundle.schema import StageEntry
from infdet_deploy.bundle.tolerances import CHECK_FRAMES, compare, parse_tolerances
from infdet_deploy.datasets.folder import has_annotations
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.detections import Detection
from infdet_deploy.errors import BackendError, ParityError, UsageError
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.checks import check_precision, count_precisions
from infdet_deploy.exporting.export import export
from infdet_deploy.exporting.int8.accuracy import AccuracyCheck, check_accuracy
from infdet_deploy.exporting.int8.calibration import FRAMES, WINDOW, Calibration, read_calibration
from infdet_deploy.exporting.int8.quantization import INT8_FILES, calibrate, quantize
from infdet_deploy.exporting.int8.stage import Int8Stage, layer_errors
from infdet_deploy.exporting.onnx import export_onnx
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.random_bundle import export_random
from infdet_deploy.exporting.stages.build import build_stage
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.model.presets import PRESETS, preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.runtime.compiled_stages import open_bundle_stage
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.video import Video
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.sample import sample_frames
from tests.processor import needs_vnni
from tests.runtime.backends.tensorrt.judge import built_for_rtx
from tests.video.recordings import write_video

STAGES = ("fen", "infrared_tower", "head")
INT8 = ExportOptions(("float32", "int8"), formats=("onnx",), incremental=False)
INT8_LAYERS = {"fen": 15, "infrared_tower": 57, "head": 3}


@pytest.fixture(scope="module")
def network():
    found = random_network(dataclasses.replace(preset("tiny"), channel_divisor=8), seed=3)
    with torch.no_grad():
        found.fusion.gamma.fill_(0.7)
    return found


@pytest.fixture(scope="module")
def tensors(network):
    """Each stage's inputs and outputs by clip: four for calibration, then clips of 16, 44 and 100 frames."""
    clips = [sample_frames(64, 64, seed=s) for s in range(1, 5)] + [sample_frames(t, 64, seed=t) for t in CHECK_FRAMES]
    return [eager_tensors(network, clip) for clip in clips]


@pytest.fixture(scope="module")
def float32(network, tensors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("float32")
    specs = stage_specs(network)
    for name in STAGES:
        example = tuple(torch.from_numpy(tensors[0][name][i.name]) for i in specs[name].inputs)
        export_onnx(name, build_stage(name, network, torch.float32), specs[name], example, folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="module")
def int8(float32, tensors, tmp_path_factory):
    """Both files of each stage: STAGE.onnxruntime.onnx signed, STAGE.openvino.onnx unsigned."""
    folder = tmp_path_factory.mktemp("int8")
    for name in STAGES:
        graph = calibrate(onnx.load(str(float32 / f"{name}.onnx")), (clip[name] for clip in tensors[:4]))
        for file in INT8_FILES:
            onnx.save(quantize(graph, unsigned=file.unsigned), str(folder / f"{name}.{file.backend}.onnx"))
    return folder


def parts(path):
    """The Q/DQ nodes of a graph, and all its constants by name."""
    graph = onnx.load(str(path)).graph
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return (
        [n for n in graph.node if n.op_type in kinds],
        {i.name: numpy_helper.to_array(i) for i in graph.initializer},
        graph,
    )


@pytest.mark.parametrize("stage", STAGES)
def test_symmetric_with_weights_per_channel(int8, stage):
    nodes, constants, graph = parts(int8 / f"{stage}.onnxruntime.onnx")
    weights = [node for node in nodes if "/weight/" in node.name]
    assert len(weights) == INT8_LAYERS[stage]
    for node in nodes:
        zero, scale = constants[node.input[2]], constants[node.input[1]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (scale > 0).all()
        assert node.name.startswith(f"{stage}/")
        if node in weights:
            (axis,) = (a.i for a in node.attribute if a.name == "axis")
            weight = constants[node.input[0]]
            assert scale.shape == zero.shape == (weight.shape[axis],)
            others = tuple(a for a in range(weight.ndim) if a != axis)
            assert np.abs(weight).max(axis=others).min() >= 126
            assert weight.min() >= -127
        else:
            assert scale.shape == ()
    assert len({node.name for node in graph.node}) == len(graph.node)
    dims = [d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
    assert dims[0] == {"fen": "T+1", "infrared_tower": "T", "head": "T'"}[stage]


def test_openvinos_file_is_unsigned_after_relus(int8):
    nodes, constants, _ = parts(int8 / "infrared_tower.openvino.onnx")
    kinds = {node.name: constants[node.input[2]].dtype for node in nodes if node.op_type == "QuantizeLinear"}
    assert len(kinds) > 50
    assert set(kinds.values()) == {np.dtype(np.uint8)}
    # The first layer reads grey levels exactly.
    steps = {node.name: constants[node.input[1]] for node in nodes}
    assert steps["infrared_tower/Conv3d_1a_7x7/Pad_2/QuantizeLinear"] == 1
    assert not any(constants[node.input[2]].any() for node in nodes)


def test_pools_and_concatenations_have_one_scale(float32, tensors):
    found = calibrate(onnx.load(str(float32 / "infrared_tower.onnx")), [tensors[0]["infrared_tower"]])
    makers = {node.output[0]: node for node in found.model.graph.node}
    joined = [makers[tensor] for tensor in found.scales if makers[tensor].op_type in ("Concat", "MaxPool")]
    assert len(joined) == 8 + 4 + 9  # concatenations but the last, pools between blocks, pools within
    for node in joined:
        assert {found.scales[name] for name in node.input} == {found.scales[node.output[0]]}


@needs_vnni
@pytest.mark.parametrize("stage", STAGES)
def test_errors_at_every_length_and_between_backends(int8, tensors, stage):
    output = {"fen": "flow", "head": "scores"}.get(stage, "features")
    inputs = tuple(v.name for v in onnx.load(str(int8 / f"{stage}.openvino.onnx")).graph.input)
    # all layers are int8; the norms of a FEN with random weights enlarge the errors
    bound = {"fen": 0.15, "infrared_tower": 3e-2, "head": 1e-3}[stage]
    for clip in tensors[4:]:
        results = []
        for backend in ("onnxruntime", "openvino"):
            runner = open_stage(backend, int8 / f"{stage}.{backend}.onnx", "int8", inputs, (output,))
            results.append(runner.run(clip[stage])[output])
            runner.close()
            assert results[-1].shape == clip[stage][output].shape
            assert compare(results[-1], clip[stage][output]).relative_l2 <= bound, backend
        assert compare(*results).relative_l2 <= bound


def test_kept_layers_are_found_by_name(float32, tensors, tmp_path):
    keep = "infrared_tower/Mixed_4c/b1b/Conv"
    out = tmp_path / "out.onnx"
    found = calibrate(onnx.load(str(float32 / "infrared_tower.onnx")), [tensors[0]["infrared_tower"]])
    onnx.save(quantize(found, {keep}), str(out))
    assert keep in found.layers
    assert count_precisions(out) == {"int8": 56, "float32": 1}
    assert "infrared_tower/Mixed_4c/b1a/Conv/weight/DequantizeLinear" in {
        n.name for n in onnx.load(str(out)).graph.node
    }
    assert check_precision("infrared_tower", out, "int8", kept=1) == {"int8": 56, "float32": 1}
    with pytest.raises(ParityError, match="called int8 computes in"):
        check_precision("infrared_tower", out, "int8", kept=0)


def test_a_float32_graph_called_int8_is_refused(float32, int8):
    with pytest.raises(ParityError, match=r"infrared_tower: the graph called int8 computes in \{'float32': 57\}"):
        check_precision("infrared_tower", float32 / "infrared_tower.onnx", "int8", kept=57)
    with pytest.raises(ParityError, match="called float32 computes in"):
        check_precision("infrared_tower", int8 / "infrared_tower.onnxruntime.onnx", "float32")


def with_outlier(model):
    """The same function, with one channel between Mixed_4c's b1a and b1b scaled by 1000."""
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant).copy()
        if constant.name in ("tower.Mixed_4c.b1a.weight", "tower.Mixed_4c.b1a.bias"):
            values[0] *= 1000
        elif constant.name == "tower.Mixed_4c.b1b.weight":
            values[:, 0] /= 1000
        constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return model


def test_the_layer_after_an_outlier_stays_float32(float32, tensors, tmp_path):
    seen = [clip["infrared_tower"] for clip in tensors]
    found = calibrate(with_outlier(onnx.load(str(float32 / "infrared_tower.onnx"))), seen[:4])
    # the outlier's layer, and some to compare it with
    layers = tuple(
        f"infrared_tower/{name}/Conv" for name in ("Conv3d_1a_7x7", "Mixed_4c/b1a", "Mixed_4c/b1b", "Mixed_5b/b0")
    )
    some = dataclasses.replace(found, layers=layers)
    errors = layer_errors(some, seen[4:5], "features")
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    worst, *others = errors
    assert worst == "infrared_tower/Mixed_4c/b1b/Conv"
    assert errors[worst] > 2 * errors[others[0]]
    stage = Int8Stage(found, (worst, *(name for name in found.layers if name != worst)), seen[4:])
    assert errors[worst] > 5e-2
    error = stage.write(INT8_FILES[0], tmp_path, 5e-2)
    assert worst in stage.kept["onnx"]
    assert error <= 5e-2


def test_a_stage_above_its_allowed_error_is_refused(float32, tensors, tmp_path):
    seen = [clip["fen"] for clip in tensors]
    found = calibrate(onnx.load(str(float32 / "fen.onnx")), seen[:1])
    stage = Int8Stage(found, found.layers[:2], seen[4:5])
    with pytest.raises(ParityError, match=r"fen: with any layer in int8 its error is above 1\.0e-09 on onnxruntime"):
        stage.write(INT8_FILES[0], tmp_path, 1e-9)


def test_a_layer_that_is_always_zero(float32, tensors):
    model = onnx.load(str(float32 / "fen.onnx"))
    for constant in model.graph.initializer:
        if constant.name == "layers.1.conv1.weight":
            constant.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(constant), constant.name))
    found = calibrate(model, [tensors[0]["fen"]])
    onnx.checker.check_model(quantize(found))
    assert min(found.scales.values()) > 0


def recordings(labels):
    videos = [Video(f"v{i}", np.zeros((16, 8, 8), np.uint8), 25.0, np.arange(16) / 25) for i in range(len(labels))]
    clips = [
        Clip(v.name, 1.0, None, (Instance(label, 0.0, 1.0),)) if label else None
        for v, label in zip(videos, labels, strict=True)
    ]
    return list(zip(videos, clips, strict=True))


def results(*labels):
    return [(np.full((1, 2), 0.5, np.float32), [Detection(label, 0.0, 1.0, 0.9)] if label else []) for label in labels]


def test_accuracy_with_annotations():
    clips = recordings(["hug", "hug", "drop", "drop"])
    float32 = results("hug", "hug", "drop", "drop")
    same = check_accuracy(float32, float32, clips, ("drop", "hug"), 1.0)
    assert (same.map_float32, same.map_int8, same.passed) == (1.0, 1.0, True)
    worse = check_accuracy(float32, results("hug", None, "drop", "drop"), clips, ("drop", "hug"), 1.0)
    assert (worse.map_int8, worse.missed, worse.extra, worse.passed) == (0.75, 1, 0, False)
    assert worse.summary() == "mAP@0.5 75.00, float32 100.00; 1 of float32's detections missed, 0 extra on 4 clips"
    assert check_accuracy(float32, results("hug", None, "drop", "drop"), clips, ("drop", "hug"), 25.0).passed
    moved = [(scores + 0.04, detections) for scores, detections in float32]
    far = check_accuracy(float32, moved, clips, ("drop", "hug"), 1.0)
    assert far.score_shift == pytest.approx(0.04, abs=1e-6)
    assert not far.passed


def test_accuracy_without_annotations():
    clips = recordings([None] * 4)
    float32 = results("hug", "hug", "drop", None)
    one = check_accuracy(float32, results("hug", None, "drop", None), clips, ("drop", "hug"), 1.0)
    assert (one.matched, one.missed, one.extra, one.passed) == (2, 1, 0, True)
    assert "map_int8" not in one.to_dict()
    assert AccuracyCheck.from_dict({**one.to_dict(), "stage_error_allowed": 0.05}) == one
    two = check_accuracy(float32, results("hug", None, "drop", "drop"), clips, ("drop", "hug"), 1.0)
    assert (two.missed, two.extra, two.passed) == (1, 1, False)


def test_calibration_clips(tmp_path):
    for index in range(5):
        write_video(tmp_path / f"{index}.mkv", sample_frames(250 if index == 0 else 50, 96, seed=index), "ffv1", "gray")
    found = read_calibration(tmp_path, Preparation(64), ("hug",))
    assert [len(w) for w in found.windows] == [WINDOW] * (FRAMES // WINDOW) + [48] * 3
    assert [len(w) for w in found.held_out] == [48]  # the second clip
    assert {w.shape[1:] for w in found.windows} == {(64, 64)}
    assert [(v.name, len(v.frames), clip) for v, clip in found.recordings][:2] == [("0", 250, None), ("1", 50, None)]


def test_a_readme_is_no_annotation(tmp_path):
    write_video(tmp_path / "a.mkv", sample_frames(50, 96), "ffv1", "gray")
    (tmp_path / "README.txt").write_text("Corridor, night\nfrom 22 to 23\n")
    (tmp_path / "README.json").write_text('{"camera": {"name": "north"}, "fps": 25}')
    assert not has_annotations(tmp_path)
    assert read_calibration(tmp_path, Preparation(64), ("hug",)).recordings[0][1] is None
    for name, text in (
        ("hug_test.txt", "a 0.5 1.5\n"),
        ("labels.json", '{"database": {}}'),
        ("labels.json", '{"a": {"actions": []}}'),
        ("labels.json", "[]"),
        ("labels.json", '{"database": '),
        ("annotations.json", "{}"),
    ):
        (tmp_path / name).write_text(text)
        assert has_annotations(tmp_path), text
        (tmp_path / name).unlink()


def test_refused_without_clips(tmp_path, network):
    with pytest.raises(UsageError, match="no such folder"):
        read_calibration(tmp_path / "none", Preparation(64), ())
    with pytest.raises(UsageError, match="int8 needs --calibrate DIR"):
        export(tmp_path / "none", options=INT8)
    with pytest.raises(UsageError, match="int8 is made from float32 ONNX"):
        ExportOptions(("float16", "int8"))
    with pytest.raises(UsageError, match="unknown precision 'fp8'; expected float32, bfloat16, float16, int8"):
        ExportOptions(("float32", "fp8"))
    with pytest.raises(UsageError, match=r"--max-map-drop is .* for int8"):
        ExportOptions(max_map_drop=1.0)
    with pytest.raises(UsageError, match="--calibrate is for int8 and float16"):
        ExportOptions(calibrate=tmp_path)


def test_refused_where_openvino_cannot_measure_it(tmp_path, network, monkeypatch):
    monkeypatch.setattr("infdet_deploy.system.cpu_features", lambda: {"ssse3", "avx2"})
    calibration = Calibration("tests", (), (), ())
    with pytest.raises(
        BackendError, match=r"no VNNI, .* overflow in openvino; export on one that has it, or without int8"
    ):
        export_bundle(network, tmp_path / "a.infdet", INT8, calibration=calibration)
    assert not list(tmp_path.iterdir())


def test_random_weights_get_int8_without_checks(tmp_path, monkeypatch):
    config = dataclasses.replace(preset("tiny"), channel_divisor=8, streams="infrared", fusion="self")
    monkeypatch.setitem(PRESETS, "small", config)
    path = tmp_path / "a.infdet"
    for precision in ("float32", "int8"):
        export_random("small", path, (precision,))
    assert set(load_bundle(path).precisions) == {"float32", "int8"}
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest["int8"]) == {"calibration", "calibration_frames"}
    tower = manifest["parity"]["int8"]["infrared_tower"]
    assert tower["operators"] == tower["operators_openvino"] == {"int8": 57}


def test_the_command_refuses_int8_without_clips(command):
    result = command("export", "--precision", "int8")
    assert result.returncode == 2
    error = "infdet-deploy: int8 needs --calibrate DIR: a data set or a folder of representative recordings"
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(error)
    (line,) = command("export", "--int8").stderr.strip().splitlines()
    assert line.startswith(error)
    result = command("export", "no-such-run")
    assert result.returncode == 2
    assert result.stderr.startswith(
        "infdet-deploy: no-such-run: no such file or folder; expected a run or a checkpoint"
    )
    assert command("export", "--calibrate", "clips").returncode == 2


@needs_vnni
@pytest.mark.slow
def test_a_bundle_with_int8(tmp_path, network):
    from infdet_deploy.verification.bisect import bisect
    from infdet_deploy.verification.references import sample_references
    from infdet_deploy.verification.stages import stage_parity

    clips = tmp_path / "clips"
    clips.mkdir()
    for index in range(4):
        write_video(clips / f"{index}.mkv", sample_frames(60, 64, seed=10 + index), "ffv1", "gray")
    calibration = read_calibration(clips, Preparation(64), network.config.classes)
    options = dataclasses.replace(INT8, whole_network=True)
    out = export_bundle(network, tmp_path / "a.infdet", options, calibration=calibration)
    bundle = load_bundle(out)
    assert set(bundle.precisions) == {"int8", "float32"}
    manifest = json.loads((out / "manifest.json").read_text())
    int8 = manifest["parity"]["int8"]
    joined = {form: len(kept) for form, kept in int8[NETWORK].pop("float32_layers").items()}
    assert joined == {f: sum(len(int8[stage]["float32_layers"][f]) for stage in bundle.stages) for f in joined}
    for form, key in (("onnx", "operators"), ("openvino", "operators_openvino")):
        assert int8[NETWORK][form] <= 5e-2
        assert int8[NETWORK][key]["int8"] == sum(int8[stage][key]["int8"] for stage in bundle.stages)
    for stage, entry in int8.items():
        if stage == NETWORK:
            continue
        assert max(entry["onnx"], entry["openvino"]) <= 5e-2
        heavy = sum(manifest["parity"]["float32"][stage]["operators"].values())
        for form, operators in (("onnx", entry["operators"]), ("openvino", entry["operators_openvino"])):
            kept = len(entry["float32_layers"][form])
            assert operators["int8"] == (INT8_LAYERS | {"flow_tower": 56 + 16})[stage] - kept
            assert sum(operators.values()) == heavy
        assert set(entry["float32_layers"]["onnx"]) <= set(entry["sensitivity"])
        assert manifest["stages"][stage]["files"]["openvino"] == {"int8": f"{stage}.int8.openvino.onnx"}
    assert all(result["passed"] for result in manifest["int8"]["detections"].values())
    checked = [row for row in stage_parity(bundle, sample_references(network)) if row.precision == "int8"]
    assert len(checked) == 5 * 2 * 3
    assert all(result.passed for result in checked)
    tower = sample_references(network, (32,))[0]["infrared_tower"]
    strict = parse_tolerances(["int8=1e-4"])  # 8 bits are not that good in any layer
    found = bisect(bundle, network, "infrared_tower", "openvino", "int8", tower, strict)
    assert found.first == found.culprits[0] == "infrared_tower/Conv3d_1a_7x7"
    assert len(found.culprits) > 50
    assert found.summary.endswith(f"is wrong with the right input, as are {len(found.culprits) - 1} more")
    frames = sample_frames(100, 64, seed=99)
    with Detector(bundle) as detector:
        reference = detector.scores(frames)
    for backend in ("openvino", "onnxruntime"):
        with Detector(bundle, backend, "int8") as detector:
            assert np.abs(detector.scores(frames) - reference).max() < 3e-2
            apart = detector.scores(frames)
        runner = open_bundle_stage(bundle, NETWORK, backend, "int8")
        assert np.abs(runner.run({"frames": frames})["scores"] - apart).max() < 1e-6  # the same graphs
        runner.close()
    built = built_for_rtx(bundle.stage_file(NETWORK, "int8"), StageEntry.from_json(manifest["stages"][NETWORK]).inputs)
    assert built.convolutions["int8"] >= int8[NETWORK]["operators"]["int8"] - INT8_LAYERS["head"]


@pytest.mark.parametrize("name", STAGES)
def test_tensorrt_rtx_builds_the_signed_file(network, int8, name):
    inputs = stage_specs(network)[name].inputs
    built = built_for_rtx(int8 / f"{name}.onnxruntime.onnx", inputs)
    # The head's are over time alone: the parser puts a reshape between them and Q/DQ, so they do not count as int8.
    assert built.convolutions.get("int8", 0) == {"fen": 15, "head": 0}.get(name, 57)

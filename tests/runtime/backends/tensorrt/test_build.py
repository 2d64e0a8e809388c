"""Engines built with TensorRT 10 and 11 as the double knows them: options, cache, what is refused."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from infdet_deploy.bundle.loading import STAGES, load_bundle
from infdet_deploy.bundle.schema import TensorSpec
from infdet_deploy.errors import BackendError, InfdetError, UsageError
from infdet_deploy.runtime.backends.tensorrt import cache
from infdet_deploy.runtime.backends.tensorrt.build import build_engine
from infdet_deploy.runtime.backends.tensorrt.child import build_apart
from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions, profile
from tests.runtime.backends.tensorrt import double

VERSIONS = ("10.9.0", "11.4.1")


def plan(row: dict) -> dict:
    return json.loads(Path(row["engine"]).read_bytes())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_stage_in_every_precision(nvidia, build_bundle, bundle_copy, version):
    trt = nvidia(version)
    assert hasattr(trt.BuilderFlag, "FP16") == version.startswith("10")
    report = build_bundle(bundle_copy)
    assert (report["gpu"], report["capability"], report["version"]) == ("Orin", "8.7", version)
    assert [(r["precision"], r["stage"]) for r in report["built"]] == [
        (p, s) for p in ("float32", "float16") for s in STAGES
    ]
    rows = {(r["stage"], r["precision"]): r for r in report["built"]}
    assert all(r["inspected"] and not r["reused"] for r in rows.values())
    for stage, count in (("fen", 16), ("infrared_tower", 57), ("flow_tower", 56 + 16)):
        for precision in ("float32", "float16"):
            assert rows[stage, precision]["convolutions"] == {precision: count}
    assert rows["head", "float16"]["layers"] == {"float16": 13, "float32": 5}
    folder = bundle_copy.with_suffix(".engines")
    assert Path(report["engines"]) == folder
    assert (folder / f"timing.{version}.Orin.cache").read_text() == f"{version} measured"
    load_bundle(bundle_copy)  # nothing was put into the bundle


def test_the_second_time_nothing_is_built(nvidia, build_bundle, bundle_copy, monkeypatch):
    nvidia(VERSIONS[0])
    first = build_bundle(bundle_copy, "float16")
    monkeypatch.setattr(double, "FAIL_BUILD", True)
    second = build_bundle(bundle_copy, "float16")
    assert [r["engine"] for r in second["built"]] == [r["engine"] for r in first["built"]]
    assert all(r["reused"] for r in second["built"])
    damaged = Path(first["built"][0]["engine"])
    damaged.write_bytes(damaged.read_bytes() + b" ")
    third = build_bundle(bundle_copy, "float16")["built"]
    assert [("error" in r) for r in third] == [True, False, False, False]
    for changed in ({"name": "Xavier"}, {"capability": "8.9"}):
        monkeypatch.setattr(double, "GPU", double.GPU | changed)
        assert all("error" in r for r in build_bundle(bundle_copy, "float16")["built"])


def test_a_failed_build_says_what_the_logger_said(nvidia, build_bundle, bundle_copy, monkeypatch):
    nvidia(VERSIONS[0])
    monkeypatch.setattr(double, "FAIL_BUILD", True)
    report = build_bundle(bundle_copy, "float16")
    assert report["built"][0] == {
        "stage": "fen",
        "precision": "float16",
        "error": "tensorrt 10.9.0 does not build fen.float16.onnx: Error Code 10: Could not find any implementation "
        "for node fen/conv1",
    }
    assert len([r for r in report["built"] if "error" in r]) == 4
    assert not list(bundle_copy.with_suffix(".engines").glob("*"))


def test_float16_that_is_float32_is_refused(nvidia, build_bundle, bundle_copy, monkeypatch):
    nvidia(VERSIONS[1])
    monkeypatch.setattr(double, "SILENT_FLOAT32", True)
    rows = build_bundle(bundle_copy)["built"]
    errors = {r["stage"]: r["error"] for r in rows if "error" in r}
    assert set(errors) == set(STAGES)
    assert errors["fen"] == (
        "fen on Orin: the engine called float16 computes its convolutions in float32 × 16; refusing to keep it"
    )
    assert all("error" not in r for r in rows if r["precision"] == "float32")


def test_options_reach_the_builder(nvidia, build_bundle, bundle_copy):
    nvidia(VERSIONS[0])
    others = {"memory_mb": 512, "hardware_compatible": True, "version_compatible": True}
    row = build_bundle(bundle_copy, "float16", **others)["built"][0]
    told = plan(row)
    assert told["memory"] == [512 << 20]
    assert told["flags"] == ["VERSION_COMPATIBLE"]
    assert told["hardware"] == "AMPERE_PLUS"
    assert told["shapes"] == {"frames": [[2, 64, 64], [49, 64, 64], [129, 64, 64]]}
    plain = build_bundle(bundle_copy, "float16")["built"][0]
    assert plain["engine"] != row["engine"]


def test_dla_takes_what_has_no_3d_operators(nvidia, tiny_bundle):
    trt = nvidia(VERSIONS[0])
    bundle = load_bundle(tiny_bundle)
    options = BuildOptions(frames=(64, 64, 64), dla=1)
    inputs = bundle.entry("fen").inputs
    shapes = profile(inputs, options)
    assert shapes == {"frames": ((65, 64, 64),) * 3}
    told = json.loads(build_engine(trt, bundle.stage_file("fen", "float16"), shapes, options).engine)
    assert (told["dla"], told["flags"]) == (1, ["GPU_FALLBACK"])
    tower = bundle.stage_file("infrared_tower", "float16")
    with pytest.raises(UsageError, match=r"infrared_tower\.float16\.onnx has 55 3D convolutions.*without --dla"):
        build_engine(trt, tower, profile(bundle.entry("infrared_tower").inputs, options), options)
    with pytest.raises(UsageError, match=r"--dla is 2; TensorRT 10\.9\.0 finds 2 DLA cores"):
        build_engine(trt, bundle.stage_file("fen", "float16"), shapes, BuildOptions((64, 64, 64), dla=2))


def test_graphs_that_do_not_parse(nvidia, tmp_path):
    import onnx

    trt = nvidia(VERSIONS[0])
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00garbage" * 9)
    with pytest.raises(BackendError, match=r"tensorrt 10\.9\.0 finds no layer in garbage\.onnx"):
        build_engine(trt, garbage, {}, BuildOptions())
    node = onnx.helper.make_node("Unheard", ["x"], ["y"], "head/Unheard")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:])), tmp_path / "a.onnx")
    with pytest.raises(BackendError, match=r"a\.onnx at head/Unheard \(Unheard\): no importer for operator"):
        build_engine(trt, tmp_path / "a.onnx", {}, BuildOptions())


def test_a_dynamic_input_without_a_profile(nvidia, tiny_bundle):
    trt = nvidia(VERSIONS[0])
    with pytest.raises(BackendError, match="input frames is dynamic and has no profile"):
        build_engine(trt, tiny_bundle / "fen.float16.onnx", {}, BuildOptions())


def test_a_child_that_dies_is_an_error(tmp_path, monkeypatch, tiny_bundle):
    for name, body in (("dies", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), ("raises", "1 / 0")):
        (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    onnx = tiny_bundle / "fen.float16.onnx"
    with pytest.raises(BackendError, match=r"dies died building fen\.float16\.onnx \(SIGSEGV\)"):
        build_apart("dies", onnx, {}, BuildOptions())
    with pytest.raises(BackendError, match=r"raises on fen\.float16\.onnx: ZeroDivisionError: division by zero"):
        build_apart("raises", onnx, {}, BuildOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": (16, 128, 382)}, "--frames is 16,128,382; expected MIN,OPT,MAX in multiples of 4"),
        ({"frames": (12, 128, 384)}, "16 ≤ MIN"),
        ({"frames": (16, 128, 64)}, "MIN ≤ OPT ≤ MAX"),
        ({"clip_frames": 8}, "--clip-frames is 8"),
        ({"memory_mb": 0}, "--memory is 0"),
        ({"dla": 0}, "one fixed length"),
        ({"dla": 0, "frames": (64, 64, 64), "hardware_compatible": True}, "exclude each other"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        BuildOptions(**options)


def test_profiles_hold_what_the_pipeline_asks_for():
    from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS, chunks

    options = BuildOptions()
    longest = max(stop - start for t in range(16, 1200, 4) for start, stop, _ in chunks(t, CHUNK_SNIPPETS))
    assert longest <= options.frames[2]
    frames = [TensorSpec("frames", "uint8", ("T+1", 64, 64))]
    assert profile(frames, options) == {"frames": ((2, 64, 64), (129, 64, 64), (385, 64, 64))}
    head = [TensorSpec("flow_features", "float32", ("T'", 256)), TensorSpec("length", "int64", (1,))]
    assert profile(head, options) == {"flow_features": ((1, 256), (15, 256), (4095, 256))}


def test_records_that_are_not_ours_count_for_nothing(nvidia, build_bundle, bundle_copy):
    nvidia(VERSIONS[0])
    row = build_bundle(bundle_copy, "float16")["built"][0]
    onnx = bundle_copy / "fen.float16.onnx"
    here = ("Orin", "8.7", VERSIONS[0])
    assert cache.find(onnx, "float16", *here)[0] == Path(row["engine"])
    assert cache.find(onnx, "float32", *here) is None
    for other in (("Thor", "8.7", VERSIONS[0]), ("Orin", "8.9", VERSIONS[0]), ("Orin", "8.7", "10.9.1")):
        assert cache.find(onnx, "float16", *other) is None
    record = Path(row["engine"]).with_suffix(".json")
    right = json.loads(record.read_text())
    for wrong in ("{", "[]", json.dumps(right | {"format": 2}), json.dumps(right | {"more": 1})):
        record.write_text(wrong)
        assert cache.find(onnx, "float16", *here) is None
    record.write_text(json.dumps(right))
    onnx.write_bytes(onnx.read_bytes() + b"\0")
    assert cache.find(onnx, "float16", *here) is None


def test_compatible_engines_are_taken_where_they_run(nvidia, build_bundle, bundle_copy):
    nvidia("10.9.0")
    build_bundle(bundle_copy, "float16", hardware_compatible=True, version_compatible=True)
    onnx = bundle_copy / "fen.float16.onnx"
    for gpu, capability, version, taken in (
        ("A100", "8.0", "10.9.0", True),
        ("T4", "7.5", "10.9.0", False),
        ("Orin", "8.7", "10.10.0", True),
        ("Orin", "8.7", "10.8.0", False),
        ("Orin", "8.7", "11.0.0", False),
    ):
        assert (cache.find(onnx, "float16", gpu, capability, version) is not None) == taken, (gpu, version)


def test_what_is_missing_is_said_in_one_line(tiny_bundle, build_bundle, monkeypatch, command):
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(InfdetError) as caught:
        build_bundle(tiny_bundle)
    assert str(caught.value) == (
        "--target tensorrt needs the package tensorrt: pip install 'infdet-deploy[tensorrt]' && "
        "infdet-deploy build tiny.infdet --target tensorrt, both on the device"
    )
    for words, message in (
        (("--target", "openvino"), "--target is openvino; expected tensorrt or tensorrt-rtx"),
        (("--target", "tensorrt-rtx"), "needs --arch"),
        (("--arch", "sm86"), "no --arch"),
        (("--frames", "16,32"), "--frames is 16,32; expected MIN,OPT,MAX"),
    ):
        result = command("build", tiny_bundle, *words)
        assert result.returncode == 2
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_machine_without_a_gpu(nvidia, build_bundle, tiny_bundle, monkeypatch):
    nvidia(VERSIONS[0])
    runtime = sys.modules["cuda.bindings.runtime"]
    none = double.Status.cudaErrorInvalidValue
    monkeypatch.setattr(runtime, "cudaGetDevice", lambda: (none, None))
    with pytest.raises(BackendError) as caught:
        build_bundle(tiny_bundle)
    assert str(caught.value) == (
        "this machine has no NVIDIA GPU that CUDA can use (cudaErrorInvalidValue); an engine is built on the device "
        "that runs it: infdet-deploy build tiny.infdet --target tensorrt, there"
    )
    assert not os.path.exists(tiny_bundle.with_suffix(".engines"))

"""Builds with the double of TensorRT 10 and 11: options, cache, refusals."""

import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.schema import STAGES, TensorSpec
from infdet_deploy.errors import BackendError, InfdetError, UsageError
from infdet_deploy.runtime.backends.tensorrt import engine_cache
from infdet_deploy.runtime.backends.tensorrt.build import StageBuild, build
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions, profile
from infdet_deploy.runtime.backends.tensorrt.engine import build_engine, build_in_child
from tests.runtime.backends.tensorrt import double

VERSIONS = ("10.9.0", "11.4.1")


def plan(entry: StageBuild) -> dict:
    return json.loads(entry.engine.read_bytes())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_stage_in_every_precision(nvidia, build_bundle, bundle_copy, version):
    trt = nvidia(version)
    assert hasattr(trt.BuilderFlag, "FP16") == version.startswith("10")
    result = build_bundle(bundle_copy)
    assert result.platform == engine_cache.Platform("tensorrt", version, "Orin", "8.7")
    assert [(e.precision, e.stage) for e in result.built] == [(p, s) for p in ("float32", "float16") for s in STAGES]
    built = {(e.stage, e.precision): e for e in result.built}
    assert all(e.record.inspected and not e.reused for e in result.built)
    for stage, count in (("fen", 16), ("infrared_tower", 57), ("flow_tower", 56 + 16)):
        for precision in ("float32", "float16"):
            assert built[stage, precision].record.convolutions == {precision: count}
    assert built["head", "float16"].record.layers == {"float16": 13, "float32": 5}
    assert result.engines == bundle_copy.with_suffix(".engines")
    assert (result.engines / f"timing.{version}.Orin.cache").read_text() == f"{version} measured"
    load_bundle(bundle_copy)  # the bundle is unchanged


def test_result_as_json(nvidia, build_bundle, bundle_copy):
    nvidia(VERSIONS[0])
    report = build_bundle(bundle_copy, "float32").to_dict()
    names = ("target", "version", "gpu", "capability")
    assert report["bundle"] == str(bundle_copy)
    assert [report[name] for name in names] == ["tensorrt", "10.9.0", "Orin", "8.7"]
    assert report["engines"] == str(bundle_copy.with_suffix(".engines"))
    fen = report["built"][0]
    size = Path(fen["engine"]).stat().st_size
    assert fen.pop("build_s") > 0
    assert fen == {
        "stage": "fen", "precision": "float32", "engine": fen["engine"], "reused": False, "engine_bytes": size,
        "inspected": True, "layers": fen["layers"], "convolutions": {"float32": 16},
    }  # fmt: skip
    json.dumps(report)


def test_progress_names_each_stage(nvidia, bundle_copy):
    nvidia(VERSIONS[0])
    calls = []
    build(bundle_copy, BuildOptions(precisions=("float32",), frames=(16, 48, 128)), lambda *call: calls.append(call))
    assert calls == [(done, 4, f"{stage} float32") for done, stage in enumerate(STAGES)]


def test_a_second_build_reuses_engines(nvidia, build_bundle, bundle_copy, monkeypatch):
    nvidia(VERSIONS[0])
    first = build_bundle(bundle_copy, "float16")
    monkeypatch.setattr(double, "FAIL_BUILD", True)
    second = build_bundle(bundle_copy, "float16")
    assert [e.engine for e in second.built] == [e.engine for e in first.built]
    assert all(e.reused for e in second.built)
    damaged = first.built[0].engine
    damaged.write_bytes(damaged.read_bytes() + b" ")
    third = build_bundle(bundle_copy, "float16")
    assert [e.error is not None for e in third.built] == [True, False, False, False]
    for changed in ({"name": "Xavier"}, {"capability": "8.9"}):
        monkeypatch.setattr(double, "GPU", double.GPU | changed)
        assert len(build_bundle(bundle_copy, "float16").refused) == 4


def test_an_engine_keeps_the_name_of_earlier_versions(nvidia, build_bundle, bundle_copy):
    """The digest in the name must not change, or every device would build again."""
    nvidia(VERSIONS[0])
    options = {
        "frames": [16, 128, 384], "clip_frames": 32768, "memory_mb": None, "dla": None, "hardware_compatible": False,
        "version_compatible": False, "arch": [],
    }  # fmt: skip
    key = engine_cache.make_key(
        engine_cache.Platform("tensorrt", "10.9.0", "Orin", "8.7"), bundle_copy / "manifest.json", BuildOptions()
    )
    assert key.options == options
    fixed = dataclasses.replace(key, onnx_sha256="0" * 64)
    assert fixed.file(bundle_copy, "fen", "float32").name == "fen.float32.49d999039435b19c.engine"


def test_a_failed_build_reports_the_logger(nvidia, build_bundle, bundle_copy, monkeypatch):
    nvidia(VERSIONS[0])
    monkeypatch.setattr(double, "FAIL_BUILD", True)
    result = build_bundle(bundle_copy, "float16")
    assert result.to_dict()["built"][0] == {
        "stage": "fen",
        "precision": "float16",
        "error": "tensorrt 10.9.0 does not build fen.float16.onnx: Error Code 10: Could not find any implementation "
        "for node fen/conv1",
    }
    assert result.refused == result.built
    assert not list(bundle_copy.with_suffix(".engines").glob("*"))


def test_float16_that_is_float32_is_refused(nvidia, build_bundle, bundle_copy, monkeypatch):
    nvidia(VERSIONS[1])
    monkeypatch.setattr(double, "SILENT_FLOAT32", True)
    errors = {(e.precision, e.stage): e.error for e in build_bundle(bundle_copy).refused}
    assert set(errors) == {("float16", stage) for stage in STAGES}
    assert errors["float16", "fen"] == (
        "fen on Orin: the float16 engine computes its convolutions in float32 × 16; it is not kept"
    )


def test_options_reach_the_builder(nvidia, build_bundle, bundle_copy):
    nvidia(VERSIONS[0])
    others = {"memory_mb": 512, "hardware_compatible": True, "version_compatible": True}
    entry = build_bundle(bundle_copy, "float16", **others).built[0]
    built = plan(entry)
    assert built["memory"] == [512 << 20]
    assert built["flags"] == ["VERSION_COMPATIBLE"]
    assert built["hardware"] == "AMPERE_PLUS"
    assert built["shapes"] == {"frames": [[2, 64, 64], [49, 64, 64], [129, 64, 64]]}
    plain = build_bundle(bundle_copy, "float16").built[0]
    assert plain.engine != entry.engine


def test_dla_refuses_3d_convolutions(nvidia, tiny_bundle):
    nvidia(VERSIONS[0])
    bundle = load_bundle(tiny_bundle)
    options = BuildOptions(frames=(64, 64, 64), dla=1)
    inputs = bundle.entry("fen").inputs
    shapes = profile(inputs, options)
    assert shapes == {"frames": ((65, 64, 64),) * 3}
    built = json.loads(build_engine(bundle.stage_file("fen", "float16"), shapes, options).data)
    assert (built["dla"], built["flags"]) == (1, ["GPU_FALLBACK"])
    tower = bundle.stage_file("infrared_tower", "float16")
    with pytest.raises(UsageError, match=r"infrared_tower\.float16\.onnx has 55 3D convolutions.*without --dla"):
        build_engine(tower, profile(bundle.entry("infrared_tower").inputs, options), options)
    with pytest.raises(UsageError, match=r"--dla is 2; TensorRT 10\.9\.0 finds 2 DLA cores"):
        build_engine(bundle.stage_file("fen", "float16"), shapes, BuildOptions(frames=(64, 64, 64), dla=2))


def test_graphs_that_do_not_parse(nvidia, tmp_path):
    import onnx

    nvidia(VERSIONS[0])
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00garbage" * 9)
    with pytest.raises(BackendError, match=r"tensorrt 10\.9\.0 finds no layer in garbage\.onnx"):
        build_engine(garbage, {}, BuildOptions())
    node = onnx.helper.make_node("Unheard", ["x"], ["y"], "head/Unheard")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:])), tmp_path / "a.onnx")
    with pytest.raises(BackendError, match=r"a\.onnx at head/Unheard \(Unheard\): no importer for operator"):
        build_engine(tmp_path / "a.onnx", {}, BuildOptions())


def test_a_dynamic_input_without_a_profile(nvidia, tiny_bundle):
    nvidia(VERSIONS[0])
    with pytest.raises(BackendError, match="input frames is dynamic and has no profile"):
        build_engine(tiny_bundle / "fen.float16.onnx", {}, BuildOptions())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"tensorrt crashed on fen\.onnx \(SIGSEGV\)"),
        ("import os; os._exit(3)", r"tensorrt crashed on fen\.onnx \(exit status 3\)"),
        ("1 / 0", r"TensorRT on fen\.onnx: ZeroDivisionError: division by zero"),
    ],
)
def test_a_child_that_crashes_is_an_error(tmp_path, monkeypatch, body, message):
    (tmp_path / "tensorrt.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=message):
        build_in_child(Path("fen.onnx"), {}, BuildOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": (16, 128, 382)}, "frames is 16,128,382; expected MIN,OPT,MAX in multiples of 4"),
        ({"frames": (12, 128, 384)}, "16 ≤ MIN"),
        ({"frames": (16, 128, 64)}, "MIN ≤ OPT ≤ MAX"),
        ({"clip_frames": 8}, "clip frames is 8"),
        ({"memory_mb": 0}, "memory is 0"),
        ({"dla": 0}, "one length only"),
        ({"target": "openvino"}, "target is openvino; expected tensorrt or tensorrt-rtx"),
        ({"target": "tensorrt-rtx"}, "needs GPU architectures, such as --arch sm86,sm89"),
        ({"arch": ("sm86",)}, "--arch is for tensorrt-rtx"),
        ({"target": "tensorrt-rtx", "arch": ("sm86",), "dla": 0}, "are for target tensorrt"),
        ({"dla": 0, "frames": (64, 64, 64), "hardware_compatible": True}, "exclude each other"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(UsageError, match=message):
        BuildOptions(**options)


def test_profiles_cover_the_chunks_of_the_pipeline():
    from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS, chunks

    options = BuildOptions()
    longest = max(stop - start for t in range(16, 1200, 4) for start, stop, _ in chunks(t, CHUNK_SNIPPETS))
    assert longest <= options.frames[2]
    frames = [TensorSpec("frames", "uint8", ("T+1", 64, 64))]
    assert profile(frames, options) == {"frames": ((2, 64, 64), (129, 64, 64), (385, 64, 64))}
    head = [TensorSpec("flow_features", "float32", ("T'", 256)), TensorSpec("length", "int64", (1,))]
    assert profile(head, options) == {"flow_features": ((1, 256), (15, 256), (4095, 256))}


def test_records_of_other_engines_are_ignored(nvidia, build_bundle, bundle_copy):
    nvidia(VERSIONS[0])
    entry = build_bundle(bundle_copy, "float16").built[0]
    onnx = bundle_copy / "fen.float16.onnx"
    here = engine_cache.Platform("tensorrt", VERSIONS[0], "Orin", "8.7")
    assert engine_cache.find(onnx, "float16", here) == (entry.engine, entry.record)
    assert engine_cache.find(onnx, "float32", here) is None
    for other in ({"gpu": "Thor"}, {"capability": "8.9"}, {"version": "10.9.1"}, {"target": "tensorrt-rtx"}):
        assert engine_cache.find(onnx, "float16", dataclasses.replace(here, **other)) is None
    record = entry.engine.with_suffix(".json")
    right = json.loads(record.read_text())
    for wrong in ("{", "[]", json.dumps(right | {"format": 2}), json.dumps(right | {"more": 1})):
        record.write_text(wrong)
        assert engine_cache.find(onnx, "float16", here) is None
    record.write_text(json.dumps(right))
    onnx.write_bytes(onnx.read_bytes() + b"\0")
    assert engine_cache.find(onnx, "float16", here) is None


def test_compatible_engines_are_found_where_they_run(nvidia, build_bundle, bundle_copy):
    nvidia("10.9.0")
    build_bundle(bundle_copy, "float16", hardware_compatible=True, version_compatible=True)
    onnx = bundle_copy / "fen.float16.onnx"
    for gpu, capability, version, found in (
        ("A100", "8.0", "10.9.0", True),
        ("T4", "7.5", "10.9.0", False),
        ("Orin", "8.7", "10.10.0", True),
        ("Orin", "8.7", "10.8.0", False),
        ("Orin", "8.7", "11.0.0", False),
    ):
        here = engine_cache.Platform("tensorrt", version, gpu, capability)
        assert (engine_cache.find(onnx, "float16", here) is not None) == found, (gpu, version)


def test_a_missing_package_is_one_line(tiny_bundle, build_bundle):
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(InfdetError) as caught:
        build_bundle(tiny_bundle)
    assert str(caught.value) == (
        "--target tensorrt needs the package tensorrt: pip install 'infdet-deploy[tensorrt]' && "
        "infdet-deploy build tiny.infdet --target tensorrt, both on the device"
    )


def test_wrong_options_on_the_command_line(tiny_bundle, command):
    for words, message in (
        (("--target", "openvino"), "'openvino' is not one of 'tensorrt', 'tensorrt-rtx'"),
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
        "this machine has no NVIDIA GPU that CUDA can use (cudaErrorInvalidValue); build on the device that will "
        "run the engines: infdet-deploy build tiny.infdet --target tensorrt"
    )
    assert not os.path.exists(tiny_bundle.with_suffix(".engines"))

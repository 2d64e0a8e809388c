"""A bundle is complete and unchanged, or refused with the name of the wrong file."""

import json
import os
from pathlib import Path

import pytest

from infdet_deploy.bundle.loading import load_bundle, store_thresholds
from infdet_deploy.bundle.manifest import read_manifest, seal
from infdet_deploy.errors import BundleError, InfdetError, UsageError

FILES = [f"{s}.{p}" for s in ("fen", "infrared_tower", "flow_tower", "head") for p in ("float32.onnx", "float16.pt")]


def refused(bundle: Path, *named: str) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    message = str(caught.value)
    assert "\n" not in message
    for text in named:
        assert text in message
    return message


def edit(bundle: Path, change) -> None:
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(seal(manifest))


def test_a_bundle_as_exported(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    assert bundle.name == "tiny"
    assert bundle.classes == ("drop", "fight", "hug")
    assert bundle.size == 64
    assert bundle.preparation.mode == "resize"
    assert bundle.precisions == ("float32", "float16")
    assert bundle.rule.thresholds == (0.45, 0.5, 0.55)
    assert bundle.stage_file("head", "float16", "torchscript") == tiny_bundle / "head.float16.pt"
    with pytest.raises(UsageError, match="no float64 onnx of head; it has float32, float16"):
        bundle.stage_file("head", "float64")


@pytest.mark.parametrize("name", [*FILES, "weights.safetensors"])
def test_a_changed_byte(bundle_copy, name):
    with open(bundle_copy / name, "r+b") as file:
        file.seek(-20, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    refused(bundle_copy, name, "changed")


def test_truncated(bundle_copy):
    os.truncate(bundle_copy / "fen.float16.onnx", 1000)
    refused(bundle_copy, "fen.float16.onnx")


def test_missing_file(bundle_copy):
    (bundle_copy / "flow_tower.float32.pt").unlink()
    refused(bundle_copy, "flow_tower.float32.pt", "missing")


def test_unlisted_file(bundle_copy):
    (bundle_copy / "extra.bin").write_bytes(b"x")
    refused(bundle_copy, "extra.bin", "not listed")


def test_unlisted_file_in_a_folder(bundle_copy):
    (bundle_copy / "sub").mkdir()
    (bundle_copy / "sub" / "extra.bin").write_bytes(b"x")
    refused(bundle_copy, "folder 'sub'", "not listed")


def test_a_listed_name_that_is_a_folder(bundle_copy):
    (bundle_copy / "head.float32.onnx").unlink()
    (bundle_copy / "head.float32.onnx").mkdir()
    refused(bundle_copy, "head.float32.onnx", "no file")


def test_a_listed_name_that_is_a_pipe(bundle_copy):
    (bundle_copy / "head.float32.onnx").unlink()
    os.mkfifo(bundle_copy / "head.float32.onnx")
    refused(bundle_copy, "head.float32.onnx", "no file")


def test_a_manifest_that_is_a_link(bundle_copy, tmp_path):
    (bundle_copy / "manifest.json").rename(tmp_path / "manifest.json")
    (bundle_copy / "manifest.json").symlink_to(tmp_path / "manifest.json")
    refused(bundle_copy, "manifest.json", "link")


def test_links(bundle_copy, tmp_path):
    outside = tmp_path / "outside.onnx"
    (bundle_copy / "head.float32.onnx").rename(outside)
    (bundle_copy / "head.float32.onnx").symlink_to(outside)
    refused(bundle_copy, "head.float32.onnx", "link")


def test_link_to_a_folder(bundle_copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (bundle_copy / "linked").symlink_to(tmp_path / "elsewhere")
    refused(bundle_copy, "link 'linked'")


@pytest.mark.parametrize(
    "name", ["{outside}", "../outside.onnx", "sub/../../outside.onnx", "./outside.onnx", "..\\outside.onnx", "", ".",
             "..", "a\nb.onnx", "a\0.onnx", ".hidden.onnx", "C:outside.onnx", "\ud800.onnx", "x" * 300],
)  # fmt: skip
def test_names_that_are_paths_or_odd(bundle_copy, tmp_path, name):
    outside = tmp_path / "outside.onnx"
    (bundle_copy / "head.float32.onnx").rename(outside)
    name = name.format(outside=outside)

    def change(manifest):
        manifest["files"][name] = manifest["files"].pop("head.float32.onnx")
        manifest["stages"]["head"]["files"]["onnx"]["float32"] = name

    edit(bundle_copy, change)
    said = "not a plain file name" if name.endswith(".onnx") else "head float32 onnx is"
    message = refused(bundle_copy, "surrogates not allowed" if "\ud800" in name else said)
    assert len(message) < 600


def test_stage_file_that_is_not_listed(bundle_copy):
    edit(bundle_copy, lambda m: m["stages"]["head"]["files"]["onnx"].update(float32="../head.onnx"))
    refused(bundle_copy, "../head.onnx")


@pytest.mark.parametrize("stage", ["fen", "head"])
def test_missing_stage(bundle_copy, stage):
    edit(bundle_copy, lambda m: m["stages"].pop(stage))
    refused(bundle_copy, f"stage '{stage}' is missing")


def test_newer_format(bundle_copy):
    edit(bundle_copy, lambda m: m.update(format=3))
    refused(bundle_copy, "manifest.json", "format 3", "update infdet-deploy")
    (bundle_copy / "manifest.json").write_text('{"format": 3, "other": "things"}')
    refused(bundle_copy, "manifest.json", "format 3", "update infdet-deploy")


def test_the_first_format_had_no_digest(bundle_copy):
    manifest = {**read_manifest(bundle_copy), "format": 1}
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    assert read_manifest(bundle_copy) == manifest
    (bundle_copy / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    refused(bundle_copy, "manifest.json", "does not begin with its own SHA-256")


def test_thresholds_are_stored_under_a_new_digest(bundle_copy):
    bundle = load_bundle(bundle_copy)
    before = (bundle_copy / "manifest.json").read_text()
    stored = store_thresholds(bundle, (0.1, 0.2, 0.3))
    assert load_bundle(bundle_copy) == stored
    assert stored.rule.thresholds == (0.1, 0.2, 0.3)
    store_thresholds(stored, bundle.rule.thresholds)
    assert (bundle_copy / "manifest.json").read_text() == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == ["copy.infdet"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "{}", '{"format": "1"}', '{"format": 1}', "\udcff"])
def test_broken_manifest(bundle_copy, text):
    (bundle_copy / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(bundle_copy, "manifest.json", "damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(files=[]),
        lambda m: m["files"].update({"fen.float32.onnx": 3}),
        lambda m: m["files"]["fen.float32.onnx"].pop("sha256"),
        lambda m: m.update(stages=[]),
        lambda m: m["stages"].update(fen=3),
        lambda m: m["stages"]["fen"].pop("files"),
        lambda m: m["stages"]["fen"].pop("inputs"),
        lambda m: m["stages"]["fen"]["files"].update(onnx=["fen.float32.onnx"]),
        lambda m: m.update(preprocessing={}),
        lambda m: m["preprocessing"].update(size="64"),
        lambda m: m["preprocessing"].update(levels="dark"),
        lambda m: m["preprocessing"].update(frame_rate=0.5),
        lambda m: m["preprocessing"].update(frame_rate=1e300),
        lambda m: m["rule"].update(ends="middle"),
        lambda m: m["preprocessing"].update(size=-64),
        lambda m: m["preprocessing"].update(size=10**400),
        lambda m: m["preprocessing"].update(size=True),
        lambda m: m["files"]["fen.float32.onnx"].update(bytes=-1),
        lambda m: m["files"]["fen.float32.onnx"].update(bytes=10**400),
        lambda m: m["files"]["fen.float32.onnx"].update(bytes="3", sha256=None),
        lambda m: m["stages"]["fen"]["files"]["onnx"].update(float32=None),
        lambda m: m["stages"]["fen"]["files"]["onnx"].update(float32=["fen.float32.onnx"]),
        lambda m: m["stages"]["fen"]["files"]["onnx"].update(float32="fen.float32.pt"),
        lambda m: m["rule"].update(thresholds=[10**400, 0.5, 0.5]),
        lambda m: m["rule"].update(thresholds=["x\n" * 100_000, 0.5, 0.5]),
        lambda m: m["model"].update(task="guessing"),
        lambda m: m["model"].update(streams=["both"]),
        lambda m: m.update(name=7),
        lambda m: m.update(classes="abc"),
        lambda m: m.update(classes=["drop", "drop", "hug"]),
        lambda m: m["preprocessing"].update(mode="stretch"),
        lambda m: m["preprocessing"].update(fps="25"),
        lambda m: m["preprocessing"].update(fps=0),
        lambda m: m["preprocessing"].update(fps=True),
        lambda m: m.update(classes=3),
        lambda m: m.update(classes=["drop"]),
        lambda m: m["rule"].update(thresholds=[0.5]),
        lambda m: m["rule"].update(thresholds=[2.0, 0.5, 0.5]),
        lambda m: m["rule"].update(extra=1),
    ],
)
def test_manifest_with_wrong_content(bundle_copy, change):
    edit(bundle_copy, change)
    with pytest.raises(InfdetError) as caught:
        load_bundle(bundle_copy)
    assert "\n" not in str(caught.value)
    assert "copy.infdet" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_not_a_folder(tmp_path):
    refused(tmp_path / "absent.infdet", "absent.infdet")
    (tmp_path / "file.infdet").write_text("x")
    refused(tmp_path / "file.infdet", "file.infdet")
    (tmp_path / "empty.infdet").mkdir()
    refused(tmp_path / "empty.infdet", "manifest.json", "empty.infdet")

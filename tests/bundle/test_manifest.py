"""A manifest is complete, unchanged and valid, or refused in one line."""

import copy
import os
import random
import stat
import time

import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MAX_BYTES, is_file_name, read_manifest, seal, write_manifest
from infdet_deploy.errors import BundleError
from tests.bundle.small_bundle import small_manifest, write_small_bundle
from tools.campaigns.manifests import campaign, resealed, with_towers


@pytest.fixture
def bundle(tmp_path):
    return write_small_bundle(tmp_path / "small.infdet")


def refused(bundle, *words):
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    for word in ("manifest.json", *words):
        assert word in message


def test_digest_of_an_example():
    """The figure is what sha256sum gives for the text with 64 zeros."""
    digest = "31f8da9d988d59d5fd02d82fb38b10f53ccc54a8e856a12d539f5106c8015cb1"
    text = seal({"a": 1})
    assert text == '{\n  "sha256": "' + digest + '",\n  "a": 1\n}\n'
    assert seal({"sha256": "an old one", "a": 1}) == text


def test_every_byte_is_covered(bundle):
    """A change of any byte, in white space, keys, numbers, the digest itself or the format."""
    file = bundle / "manifest.json"
    data = file.read_bytes()
    rng = random.Random(0)
    changes = [(at, data[at] ^ 1 << rng.randrange(8)) for at in range(len(data))]
    format_at = data.index(b'"format": ') + 10
    changes += [(format_at, byte) for byte in range(256) if byte != data[format_at]]
    for at, byte in changes:
        file.write_bytes(data[:at] + bytes([byte]) + data[at + 1 :])
        with pytest.raises(BundleError, match=r"manifest\.json"):
            read_manifest(bundle)
    file.write_bytes(data)
    assert read_manifest(bundle) == small_manifest(bundle)


def test_zeroed_truncated_and_longer(bundle):
    file = bundle / "manifest.json"
    data = file.read_bytes()
    for other in (bytes(len(data)), *(data[:n] for n in range(0, len(data), 7)), data + b"\n", b"\n" + data):
        file.write_bytes(other)
        refused(bundle)


def test_the_manifest_of_another_bundle(bundle, tmp_path):
    other = write_small_bundle(tmp_path / "other.infdet")
    (other / "head.float32.pt").write_bytes(b"other")
    (bundle / "manifest.json").write_text(seal(small_manifest(other)))
    with pytest.raises(BundleError, match=r"head\.float32\.pt"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"format": 2, "format": 1}', "'format' is there twice"),
        ('{"format": 1, "rule": {"thresholds": [NaN]}}', "NaN is not a finite number"),
        ('{"format": 1, "rule": {"thresholds": [-Infinity]}}', "-Infinity is not a finite number"),
        ('{"format": 1, "rule": {"thresholds": [1e999]}}', "1e999 is not a finite number"),
        ('{"format": true}', "no format number"),
        ('{"format": 0}', "no format number"),
        ('{"format": -1}', "no format number"),
        ('{"format": 1.5}', "no format number"),
        ('{"format": ' + "9" * 5000 + "}", "is not a finite number"),
        ("[" * 1_000_000, "recursion"),
        ('{"a":' * 1_000_000, "recursion"),
        (" " * MAX_BYTES + "{}", "larger than 16 MB"),
    ],
)
def test_text_that_is_not_a_manifest(bundle, text, word):
    (bundle / "manifest.json").write_text(text)
    begun = time.monotonic()
    refused(bundle, word)
    assert time.monotonic() - begun < 5


def test_a_manifest_of_100_mb_is_not_read(bundle):
    with open(bundle / "manifest.json", "wb") as file:
        file.truncate(100_000_000)
    begun = time.monotonic()
    refused(bundle, "larger than 16 MB")
    assert time.monotonic() - begun < 1


def test_file_names():
    for good in ("head.float32.onnx", "golden.npz", "a", "_", "fen.int8+bf16.onnx", "x" * 200):
        assert is_file_name(good)
    odd = ["", ".", "..", ".a", "-a", "a/b", "/a", "a\\b", "a b", "a\n", "é", "a\0", "C:a", "x" * 201, None, 3, ["a"]]
    assert not [name for name in odd if is_file_name(name)]


def test_fourteen_hundred_changed_manifests(tmp_path):
    """The short form of tools/campaigns/manifests.py."""
    tally = campaign(tmp_path / "small.infdet", 1400, seed=1)
    assert tally.failures == []
    assert 50 < tally.counts["accepted"] < 700
    assert tally.longest_s < 2


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('"name": "small"', '"name": "\\ud800"', "surrogates not allowed"),
        ('"name": "small"', '"name": "small", "x": ' + "[" * 101 + "]" * 101, "nested too deeply"),
        ('"size": 64,\n    "mode"', '"size": 18446744073709551616,\n    "mode"', "'size' is 1.8"),
        ('"size": 64,\n    "mode"', '"size": ' + "9" * 5000 + ',\n    "mode"', "is not a finite number"),
    ],
)
def test_what_json_readers_understand_differently(bundle, old, new, word):
    file = bundle / "manifest.json"
    text = file.read_text()
    assert old in text
    file.write_bytes(resealed(text.replace(old, new, 1).encode()))
    refused(bundle, word)


def test_one_hundred_levels_are_read(bundle):
    file = bundle / "manifest.json"
    deep = '"name": "small", "x": ' + "[" * 100 + "]" * 100
    file.write_bytes(resealed(file.read_text().replace('"name": "small"', deep, 1).encode()))
    assert load_bundle(bundle).name == "small"


def test_entries_that_older_versions_accepted(bundle):
    manifest = with_towers(small_manifest(bundle))
    manifest |= {"source": None, "made_by": {"torch": 2, "onnx": None}}
    manifest["stages"]["fen"] |= {"multiply_adds": "many", "multiply_adds_original": 1.5}
    manifest["stream"]["stages"]["flow_tower_stream"]["multiply_adds"] = []
    write_manifest(bundle, manifest)
    read = load_bundle(bundle).manifest
    assert read.source == ""
    assert read.made_by == {"torch": "2", "onnx": "None"}
    for entry in (read.stages["fen"], read.all_stages["flow_tower_stream"]):
        assert (entry.multiply_adds, entry.multiply_adds_original) == (None, None)


def test_errors_in_the_stream_entry(bundle):
    good = with_towers(small_manifest(bundle))
    good["stream"]["stages"]["fen"] = copy.deepcopy(good["stream"]["stages"]["flow_tower_stream"])
    write_manifest(bundle, good)
    assert len(load_bundle(bundle).entry("fen").inputs) == 1  # the stage, not the tower
    for change, word in (
        (lambda stream: stream.update(step_frames="8"), "'stream'"),
        (lambda stream: stream.pop("features_lag"), "'stream'"),
        (lambda stream: stream["stages"]["flow_tower_stream"].update(inputs=[]), "flow_tower_stream has fewer than 2"),
        (
            lambda stream: stream["stages"]["flow_tower_stream"]["inputs"][2].update(shape=[2**20, 2**20]),
            "state inside",
        ),
        (lambda stream: stream["stages"]["fen"]["files"]["onnx"].update(int8="none.onnx"), "none.onnx"),
    ):
        manifest = copy.deepcopy(good)
        change(manifest["stream"])
        write_manifest(bundle, manifest)
        with pytest.raises(BundleError, match=word):
            load_bundle(bundle)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_only_regular_files_are_opened(bundle, kind):
    """A named pipe would block for ever."""
    file = bundle / "manifest.json"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        try:
            os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root may make devices")
    refused(bundle, "not a regular file")

"""A manifest is complete, unchanged and valid, or refused in one line."""

import contextlib
import copy
import json
import os
import random
import stat
import time

import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MAX_BYTES, is_file_name, read_manifest, seal, write_manifest
from infdet_deploy.bundle.schema import TOWERS
from infdet_deploy.errors import BundleError
from tests.bundle.small_bundle import small_manifest, write_small_bundle


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
        ('{"format": ' + "9" * 5000 + "}", "digit"),
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


VALUES = [
    None, True, 0, -1, 2**63, 10**400, 1e308, -0.5, "", "..", "/etc/passwd", "a\nb", "\ud800", "x" * 10_000, [], {},
    [[[]]], {"a": {}}, ["drop"], {"float32": "fen.float32.onnx"}, "both", "head.float32.pt",
]  # fmt: skip


def mutate(rng, root):
    """Put, remove, rename, copy or swap one entry somewhere in the manifest."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(root)
    node, key = rng.choice(places)
    other, other_key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(["", "../x", "a\n", "x", "onnx", "streams"])] = node.pop(key)
    elif kind == 2:
        node[key] = copy.deepcopy(other[other_key])
    elif kind == 3 and isinstance(node[key], str):
        text = list(node[key] or "x")
        text[rng.randrange(len(text))] = chr(rng.choice([0, 10, 47, 46, 92, 0x202E, 0xD800, rng.randrange(32, 127)]))
        node[key] = "".join(text)
    else:
        node[key] = copy.deepcopy(rng.choice(VALUES))


def test_seven_hundred_random_mutations(bundle):
    """Each is refused with one line or loads; sealed, so that the digest does not hide what lies behind it."""
    good = small_manifest(bundle)
    rng = random.Random(1)
    file, loaded, longest = bundle / "manifest.json", 0, 0.0
    for _ in range(700):
        manifest = copy.deepcopy(good)
        for _ in range(rng.choice([1, 1, 2, 5])):
            mutate(rng, manifest)
        text = seal(manifest) if rng.random() < 0.7 else json.dumps(manifest | {"format": 1})
        file.write_text(text)
        begun = time.monotonic()
        try:
            load_bundle(bundle)
            loaded += 1
        except BundleError as error:
            message = str(error)
            assert len(message.splitlines()) == 1, message
            assert len(message) < 600, message
            assert "small.infdet" in message
        longest = max(longest, time.monotonic() - begun)
    print(f"{loaded} of 700 loaded; the longest took {1000 * longest:.0f} ms")
    assert 0 < loaded < 525
    assert longest < 2


def test_seven_hundred_random_changes_of_the_text(bundle):
    file = bundle / "manifest.json"
    data = json.dumps(small_manifest(bundle) | {"format": 1}).encode()
    rng = random.Random(2)
    for _ in range(700):
        text = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            at = rng.randrange(len(text))
            change = rng.randrange(3)
            if change == 0:
                text[at] = rng.randrange(256)
            elif change == 1:
                del text[at : at + rng.randrange(1, 40)]
            else:
                text[at:at] = rng.choice([b"\0", b"[", b"{", b'"', b"\\u0000", b"e99", b"\xff", b"1" * 20])
        file.write_bytes(text)
        with contextlib.suppress(BundleError):
            load_bundle(bundle)


def with_towers(bundle):
    manifest = small_manifest(bundle)
    entry = copy.deepcopy(manifest["stages"]["head"])
    entry["inputs"].append({"name": "inside", "dtype": "float32", "shape": ["T"]})
    numbers = dict.fromkeys(("step_frames", "delay_frames", "features_lag", "history_frames"), 8)
    towers = {f"{tower}_stream": copy.deepcopy(entry) for tower in TOWERS}
    return manifest | {"stream": {**numbers, "stages": towers}}


def test_entries_that_older_versions_accepted(bundle):
    manifest = with_towers(bundle)
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
    good = with_towers(bundle)
    good["stream"]["stages"]["fen"] = copy.deepcopy(good["stream"]["stages"]["flow_tower_stream"])
    write_manifest(bundle, good)
    assert len(load_bundle(bundle).entry("fen").inputs) == 1  # the stage, not the tower
    for change, word in (
        (lambda stream: stream.update(step_frames="8"), "'stream'"),
        (lambda stream: stream.pop("features_lag"), "'stream'"),
        (lambda stream: stream["stages"]["flow_tower_stream"]["inputs"].pop(), "flow_tower_stream has fewer than 2"),
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

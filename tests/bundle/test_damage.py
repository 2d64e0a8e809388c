"""Damage to any file of a bundle is reported with its name, before a backend opens a file."""

import json
import os
import random
import re
import shutil
from functools import partial
from itertools import pairwise
from unittest.mock import Mock

import pytest

from infdet_deploy.bundle.loading import check_file, load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, read_manifest
from infdet_deploy.errors import BundleError
from infdet_deploy.runtime.backends.openvino import OpenVino
from infdet_deploy.runtime.detector import Detector

FLIPS = 100


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tmp_path_factory):
    """A copy of the tiny bundle, damaged and mended in place."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("damage") / "copy.infdet")
    yield folder
    load_bundle(folder)  # whole again after every test


@pytest.fixture
def opened(monkeypatch):
    """What a backend was asked to open."""
    paths = []
    monkeypatch.setattr(OpenVino, "compile", lambda self, source: paths.append(source.path) or Mock(concurrency=1))
    return paths


def names_of(bundle):
    return [MANIFEST, *json.loads((bundle / MANIFEST).read_text())["files"]]


def change(path, at, new):
    """Overwrite bytes in place; gives back what was there."""
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(len(new))
        file.seek(at)
        file.write(new)
    return old


def assert_refused(bundle, *names):
    with pytest.raises(BundleError, match="|".join(map(re.escape, names))) as caught:
        Detector(bundle)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_a_hundred_flipped_bits_in_every_file(bundle):
    """By the check of one file, the one that load_bundle makes of each, since a whole bundle is 160 MB."""
    listed = load_bundle(bundle).manifest.files
    rng = random.Random(0)
    for name in names_of(bundle):
        size = (bundle / name).stat().st_size
        check = partial(check_file, bundle, name, listed[name]) if name in listed else partial(read_manifest, bundle)
        for _ in range(FLIPS):
            at, bit = rng.randrange(size), 1 << rng.randrange(8)
            (was,) = change(bundle / name, at, b"\0")
            change(bundle / name, at, bytes([was ^ bit]))
            with pytest.raises(BundleError, match=re.escape(name)):
                check()
            change(bundle / name, at, bytes([was]))


def test_a_flipped_bit_in_each_file_of_a_bundle(bundle, opened):
    for name in names_of(bundle):
        at = (bundle / name).stat().st_size // 2
        (was,) = change(bundle / name, at, b"\0")
        change(bundle / name, at, bytes([was ^ 1]))
        assert_refused(bundle, name)
        change(bundle / name, at, bytes([was]))
    assert not opened
    Detector(bundle)
    assert [path.name for path in opened] == [
        "fen.float32.onnx", "infrared_tower.float32.onnx", "flow_tower.float32.onnx", "head.float32.onnx",
    ]  # fmt: skip


def test_zeroed_emptied_truncated_and_removed(bundle, opened):
    aside = bundle.parent / "aside"
    for name in names_of(bundle):
        path = bundle / name
        size = path.stat().st_size
        path.rename(aside)
        assert_refused(bundle, name)
        for left in (0, size - 1):
            path.write_bytes(aside.read_bytes()[:left])
            assert_refused(bundle, name)
        path.write_bytes(bytes(size))
        assert_refused(bundle, name)
        aside.replace(path)
    assert not opened


def test_two_swapped_files(bundle, opened):
    aside = bundle.parent / "aside"
    for first, second in pairwise(names_of(bundle)):
        for swapped in (True, False):
            os.rename(bundle / first, aside)
            os.rename(bundle / second, bundle / first)
            os.rename(aside, bundle / second)
            if swapped:
                assert_refused(bundle, first, second)
    assert not opened

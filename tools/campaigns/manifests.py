"""Changed manifests: each is refused in one line or loads, and the C++ library gives the same verdict.

    python -m tools.campaigns.manifests --count 10000 --library build/cpp/tests/libinfdet_parity.so

Half of the manifests differ in their values, half in their text. All but some of the texts have the right digest, so
that it does not hide what lies behind it.
"""

import copy
import hashlib
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, seal
from infdet_deploy.bundle.schema import TOWERS
from tests.bundle.small_bundle import small_manifest, write_small_bundle
from tools.campaigns.common import Accepts, Tally, change_bytes, run_with_library

VALUES = [
    None, True, False, 0, 1, -1, 2, 8, 64, 999, 1000, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, 1.0, 64.0, 1e308, 1e-320,
    -0.5, -0.0, 0.5, "", " ", "..", "/etc/passwd", "a\nb", "\ud800", "é", "x" * 10_000, "1", [], {}, [[[]]],
    {"a": {}}, ["drop"], ["drop", "drop"], ["T", 3], [0], [2**40, 2**40], {"float32": "fen.float32.onnx"}, "both",
    "infrared", "flow", "detection", "recognition", "crop", "background", "interpolated", "head.float32.pt", "onnx",
]  # fmt: skip
KEYS = [
    "", "../x", "a\n", "x", "onnx", "openvino", "streams", "stream", "task", "fps", "levels", "frame_rate",
    "split_long",
    "ends", "made_by", "parity", "operators", "source", "sha256", "model", "shape", "dtype", "inputs",
]  # fmt: skip
PIECES = (
    b"\0", b"[", b"{", b'"', b"\\u0000", b"\\ud800", b"e99", b"e999", b"\xff", b"1" * 20, b"9" * 5000, b"-", b"0",
    b".5", b"NaN", b"Infinity", b"null", b"true", b",", b":", b"//", b"\xef\xbb\xbf", b"\xc2\xa0", b"\x0b", b"\t",
    b"\\/", b"\x7f",
)  # fmt: skip


def with_towers(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with incremental towers."""
    entry = copy.deepcopy(manifest["stages"]["head"])
    state = {"name": "inside", "dtype": "float32", "shape": [1, 4]}
    entry["inputs"] = [*entry["inputs"], {"name": "mask", "dtype": "float32", "shape": ["T"]}, state]
    numbers = dict.fromkeys(("step_frames", "delay_frames", "features_lag", "history_frames"), 8)
    towers = {f"{tower}_stream": copy.deepcopy(entry) for tower in TOWERS}
    return manifest | {"stream": {**numbers, "stages": towers}}


def mutate(rng: random.Random, root: dict[str, Any]) -> None:
    """Put, remove, rename, copy or change one entry somewhere in the manifest."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(root)
    if not places:
        return
    node, key = rng.choice(places)
    other, other_key = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(KEYS)] = node.pop(key)
    elif kind == 2:
        node[key] = copy.deepcopy(other[other_key])
    elif kind == 3 and isinstance(node[key], str):
        text = list(node[key] or "x")
        text[rng.randrange(len(text))] = chr(rng.choice([0, 10, 47, 46, 92, 0x202E, 0xD800, rng.randrange(32, 127)]))
        node[key] = "".join(text)
    elif kind == 4 and isinstance(node, dict):
        node[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
    else:
        node[key] = copy.deepcopy(rng.choice(VALUES))


def resealed(text: bytes) -> bytes:
    """The text with the right digest, if it begins with a digest."""
    found = re.match(rb'\{\s*"sha256": "([0-9a-f]{64})"', text)
    if not found:
        return text
    blank = text[: found.start(1)] + b"0" * 64 + text[found.end(1) :]
    return blank[: found.start(1)] + hashlib.sha256(blank).hexdigest().encode() + blank[found.end(1) :]


def manifests(good: dict[str, Any], count: int, seed: int = 0) -> Iterator[bytes]:
    """Changed texts of manifest.json."""
    rng = random.Random(seed)
    originals = good, with_towers(good)
    for _ in range(count):
        manifest = copy.deepcopy(rng.choice(originals))
        if rng.random() < 0.5:
            for _ in range(rng.choice([1, 1, 2, 5])):
                mutate(rng, manifest)
            text = seal(manifest) if rng.random() < 0.7 else json.dumps(manifest | {"format": 1})
            yield text.encode("utf-8", "surrogatepass")
        else:
            text = seal(manifest) if rng.random() < 0.7 else json.dumps(manifest | {"format": 1})
            changed = change_bytes(rng, text.encode(), PIECES)
            yield changed if rng.random() < 0.1 else resealed(changed)


def campaign(folder: Path, count: int, seed: int = 0, accepts: Accepts | None = None) -> Tally:
    """Load the changed manifests of a bundle written to `folder`. accepts: the C++ library's verdict."""
    bundle, tally = write_small_bundle(folder), Tally()
    for number, text in enumerate(manifests(small_manifest(bundle), count, seed)):
        (bundle / MANIFEST).write_bytes(text)
        message = tally.attempt(f"manifest {number}", lambda: load_bundle(bundle))
        if accepts is None:
            continue
        other, why = accepts(bundle)
        if other != (message is None):
            kept = folder.parent / f"manifest-{seed}-{number}.json"
            kept.write_bytes(text)
            tally.failures.append(f"{kept}: Python says {message or 'good'}; C++ says {why or 'good'}")
        elif len(why.splitlines()) > 1:
            tally.failures.append(f"manifest {number}: the message of C++ has several lines: {why[:300]!r}")
    return tally


if __name__ == "__main__":
    sys.exit(run_with_library(__doc__, "manifests", "small.infdet", campaign))

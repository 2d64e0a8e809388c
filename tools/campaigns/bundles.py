"""Damaged bundles: each is refused in one line or loads, and the C++ library gives the same verdict.

    python -m tools.campaigns.bundles --count 10000 --library build/cpp/tests/libinfdet_parity.so

A quarter have a damaged file, one without its digest, a link, a folder or a pipe. The others have a changed ONNX file
with its right digest, as an attacker would write it. Nothing is run: `infdet-deploy check --run` does that in a process
of its own.
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, write_manifest
from infdet_deploy.files import sha256
from tests.bundle.running_bundle import write_running_bundle
from tools.campaigns.common import Accepts, Tally, change_bytes, run_with_library

# Parts of ONNX files: operators, domains, external data, functions, numbers without end.
PIECES = (
    b"\0", b"\xff" * 10, b"\x80" * 11, b"\x22\x04Loop", b"\x22\x02If", b"\x22\x04Relu", b"\x3a\x00",
    b"\x3a\x0dcom.microsoft", b"\x70\x01", b"\x6a\x00", b"\xca\x01\x00", b"\x0a\x00", b"\x3a\xff\xff\xff\xff\x0f",
)  # fmt: skip


def damage(rng: random.Random, bundle: Path, name: str) -> None:
    """Damage one file without a change of the manifest."""
    file, kind = bundle / name, rng.randrange(7)
    data = file.read_bytes()
    if kind == 0:
        (bundle / rng.choice(["unlisted", ".hidden", "a b", "x\n", name.upper()])).write_bytes(data)
        return
    file.unlink()
    if kind == 1:
        file.write_bytes(change_bytes(rng, data))
    elif kind == 2:
        file.symlink_to(rng.choice([MANIFEST, "/etc/passwd", "nowhere", bundle.parent / "whole" / name]))
    elif kind == 3:
        file.mkdir()
    elif kind == 4:
        os.mkfifo(file)
    elif kind == 5:
        file.write_bytes(data[: rng.randrange(len(data))])


def change_graph(rng: random.Random, bundle: Path, name: str) -> None:
    """Change an ONNX file, and its size and digest in the manifest."""
    file = bundle / name
    file.write_bytes(change_bytes(rng, file.read_bytes(), PIECES))
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    write_manifest(bundle, manifest)


def campaign(folder: Path, count: int, seed: int = 0, accepts: Accepts | None = None) -> Tally:
    """Load damaged copies of a bundle, made at `folder`. accepts: the C++ library's verdict."""
    whole, rng, tally = write_running_bundle(folder.parent / "whole"), random.Random(seed), Tally()
    names = sorted(file.name for file in whole.iterdir())
    graphs = [name for name in names if name.endswith(".onnx")]
    for number in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        if rng.random() < 0.25:
            damage(rng, folder, rng.choice(names))
        else:
            change_graph(rng, folder, rng.choice(graphs))
        message = tally.attempt(f"bundle {number}", lambda: load_bundle(folder))
        if accepts is not None:
            other, why = accepts(folder)
            if other != (message is None):
                kept = shutil.copytree(folder, folder.parent / f"bundle-{seed}-{number}", symlinks=True)
                tally.failures.append(f"{kept}: Python says {message or 'good'}; C++ says {why or 'good'}")
    return tally


if __name__ == "__main__":
    sys.exit(run_with_library(__doc__, "bundles", "bundle.infdet", campaign))

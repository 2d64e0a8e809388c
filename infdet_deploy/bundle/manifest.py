"""The text of a bundle's manifest.json: contains its own SHA-256 and is read strictly.

1. The text begins with `{"sha256": "…"`: the SHA-256 of the whole text with 64 zeros in place of the digits.
2. It is UTF-8 JSON of at most 16 MB without duplicate keys; every number is finite.
3. Format 1 has no digest and is still supported.

cpp/src/manifest.cpp accepts and refuses the same texts.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from infdet_deploy.errors import BundleError
from infdet_deploy.files import regular_only, whole_file

FORMAT = 2
MANIFEST = "manifest.json"
MAX_BYTES = 16_000_000
MAX_DEPTH = 100  # values in objects and lists in each other; a manifest has 6 levels
COUNTED_FRAMES = 100  # clip length of `multiply_adds`, as in the paper
_SEAL = re.compile(rb'\{\s*"sha256": "([0-9a-f]{64})"')
_NO_DIGEST = b"0" * 64
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


def seal(manifest: dict[str, Any]) -> str:
    """The text of manifest.json: indented JSON that begins with the digest."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps({"sha256": _NO_DIGEST.decode()} | content, indent=2, allow_nan=False) + "\n"
    return text.replace(_NO_DIGEST.decode(), hashlib.sha256(text.encode()).hexdigest(), 1)


def write_manifest(folder: Path, manifest: dict[str, Any], staging: Path | None = None) -> None:
    """Write a bundle's manifest.json with its digest, atomically; `staging` as in `whole_file`."""
    with whole_file(folder / MANIFEST, staging) as temporary:
        temporary.write_text(seal(manifest), encoding="utf-8")


def damaged(folder: Path, why: object) -> BundleError:
    """The error for a damaged manifest, in one short line."""
    return BundleError(f"{folder / MANIFEST} is damaged: {short(why)}; copy the bundle again or export it again")


def short(text: object, length: int = 200) -> str:
    """A text as a message can quote it: one line, printable, truncated to `length`."""
    printable = "".join(c if c.isprintable() else " " for c in str(text)[: 2 * length])
    line = " ".join(printable.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def is_file_name(name: object) -> bool:
    """Whether this is a name of letters, digits and `_.+-`, thus no path and no hidden file."""
    return isinstance(name, str) and _FILE_NAME.fullmatch(name) is not None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a bundle's manifest, without its digest. Raises BundleError if it is missing, changed or damaged."""
    path = folder / MANIFEST
    if path.is_symlink():
        raise BundleError(f"{folder}: '{MANIFEST}' is a link; refused")
    try:
        with open(path, "rb", opener=regular_only) as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}") from None
    except OSError as error:
        raise damaged(folder, error.strerror or error) from None
    if len(data) > MAX_BYTES:
        raise damaged(folder, f"it is larger than {MAX_BYTES // 1_000_000} MB")
    manifest = _parse(folder, data)
    number = manifest.get("format")
    if type(number) is not int or number < 1:
        raise damaged(folder, "it has no format number")
    if number > FORMAT:
        raise BundleError(
            f"{path} has format {short(number, 20)}, this version reads up to {FORMAT}: update infdet-deploy"
        )
    if number > 1 or "sha256" in manifest:
        _check_digest(folder, data)
        del manifest["sha256"]
    for key in ("name", "model", "preprocessing", "classes", "rule", "stages", "files"):
        if key not in manifest:
            raise damaged(folder, f"'{key}' is missing")
    return manifest


def _check_digest(folder: Path, data: bytes) -> None:
    found = _SEAL.match(data)
    if not found:
        raise damaged(folder, "it does not begin with its own SHA-256")
    blank = data[: found.start(1)] + _NO_DIGEST + data[found.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != found[1]:
        raise damaged(folder, "it was changed since it was written (SHA-256 differs)")


def _parse(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_constant=_number,
            parse_float=_number,
        )
        json.dumps(manifest, ensure_ascii=False).encode("utf-8")  # no half of a surrogate pair
        _check_depth(manifest)
    except (ValueError, RecursionError) as error:
        raise damaged(folder, error) from None
    if not isinstance(manifest, dict):
        raise damaged(folder, "it has no format number")
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return found


def _check_depth(manifest: Any) -> None:
    level, depth = [manifest], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level, depth = [value for values in inner for value in values], depth + 1


def _integer(text: str) -> int | float:
    """An integer; beyond 64 bits a float, as the C++ library reads it, which is then of the wrong type."""
    if len(text) <= len("-18446744073709551615") and -(1 << 63) <= int(text) < 1 << 64:
        return int(text)
    return _number(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{short(text, 20)} is not a finite number")
    return value

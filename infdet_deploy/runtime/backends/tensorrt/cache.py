"""Where engines lie: `NAME.engines/` beside `NAME.infdet/`, each with a record of what it was built from and for.

An engine is native code for one graph, one class of GPU and one version of TensorRT. It is used where its record names
this very graph (by SHA-256), this GPU, this version, and the engine's own SHA-256; another GPU or a later version only
where it was built to be compatible. The record is written last, so an engine without one was interrupted and counts for
nothing. The hashes find damage and mix-ups; they are no signature.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.config import from_dict
from infdet_deploy.errors import BackendError, ConfigError
from infdet_deploy.files import sha256, whole_file, write_json
from infdet_deploy.runtime.backends.tensorrt.build import BuildReport, Built
from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions

FORMAT = 1


@dataclass(frozen=True)
class Key:
    """What decides whether an engine may be used.

    target: `tensorrt` or `tensorrt-rtx`. gpu and capability: the device it was built on; for TensorRT-RTX its
    architectures, and `any`. version: of TensorRT. options: as in BuildOptions.
    """

    target: str
    onnx_sha256: str
    gpu: str
    capability: str
    version: str
    options: dict[str, Any]

    def digest(self) -> str:
        """16 hexadecimal digits that tell keys apart."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record(BuildReport):
    """The JSON beside an engine."""

    format: int
    stage: str
    precision: str
    key: Key
    engine_bytes: int
    engine_sha256: str


def engine_folder(bundle: Path) -> Path:
    """The folder of a bundle's engines."""
    return bundle.resolve().with_suffix(".engines")


def make_key(target: str, onnx: Path, gpu: str, capability: str, version: str, options: BuildOptions) -> Key:
    """The key of the stage at `onnx`, built for this device with these options."""
    plain = json.loads(json.dumps(asdict(options)))
    return Key(target, sha256(onnx), gpu, capability, version, plain)


def engine_file(folder: Path, stage: str, precision: str, key: Key) -> Path:
    """Where the engine of this build lies, or would."""
    return folder / f"{stage}.{precision}.{key.digest()}.engine"


def store(folder: Path, stage: str, precision: str, key: Key, built: Built) -> Record:
    """Keep an engine, then its record."""
    path = engine_file(folder, stage, precision, key)
    record = path.with_suffix(".json")
    record.unlink(missing_ok=True)  # the old record does not describe the new engine
    with whole_file(path) as temporary:
        temporary.write_bytes(built.engine)
    digest = hashlib.sha256(built.engine).hexdigest()
    entry = Record(
        **built.report(), format=FORMAT, stage=stage, precision=precision, key=key, engine_bytes=len(built.engine),
        engine_sha256=digest,
    )  # fmt: skip
    write_json(record, asdict(entry))
    return entry


def lookup(folder: Path, stage: str, precision: str, key: Key) -> Record | None:
    """The record of exactly this build, where its engine is here, whole and unchanged."""
    path = engine_file(folder, stage, precision, key)
    record = _read(path.with_suffix(".json"))
    if record is None or record.key != key or not path.is_file() or sha256(path) != record.engine_sha256:
        return None
    return record


def find(onnx: Path, precision: str, gpu: str, capability: str, version: str) -> tuple[Path, Record] | None:
    """The newest engine of the stage at `onnx` that this device may run, whatever options it was built with."""
    folder, stage = engine_folder(onnx.parent), onnx.name.split(".")[0]
    records = sorted(folder.glob(f"{stage}.{precision}.*.json"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    digest = sha256(onnx) if records else ""
    for path in records:
        record, engine = _read(path), path.with_suffix(".engine")
        if record is None or record.key.target != "tensorrt" or record.key.onnx_sha256 != digest:
            continue
        if _runs_on(record.key, gpu, capability, version) and engine.is_file():
            return engine, record
    return None


def _runs_on(key: Key, gpu: str, capability: str, version: str) -> bool:
    same_gpu = (key.gpu, key.capability) == (gpu, capability)
    if key.options.get("hardware_compatible"):
        same_gpu = same_gpu or float(capability) >= 8.0  # Ampere
    same_version = key.version == version
    if key.options.get("version_compatible"):
        ours, theirs = (tuple(int(n) for n in text.split(".")[:3]) for text in (version, key.version))
        same_version = same_version or (ours[0] == theirs[0] and ours >= theirs)
    return same_gpu and same_version


def load(path: Path, record: Record) -> bytes:
    """An engine's bytes; raises BackendError when they are not those that its record names."""
    engine = path.read_bytes()
    if hashlib.sha256(engine).hexdigest() != record.engine_sha256:
        raise BackendError(f"{path} was changed since it was built (SHA-256 differs); delete it and build again")
    return engine


def _read(path: Path) -> Record | None:
    """A record, or None where it is missing, damaged or of another format: then the engine is built anew."""
    try:
        record = from_dict(Record, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, ConfigError):
        return None
    return record if record.format == FORMAT else None

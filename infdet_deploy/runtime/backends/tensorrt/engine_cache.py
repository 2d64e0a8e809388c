"""The engine cache: `NAME.engines/` next to `NAME.infdet/`, with one JSON record for each engine.

An engine is native code for one graph, one GPU model and one TensorRT version. It is used if its record names this
graph (SHA-256), GPU and version, and the engine's own SHA-256. An engine built to be compatible is also used on other
GPUs or later versions. The record is written last, so an engine without a record is incomplete and ignored. The hashes
detect damage and mix-ups; they do not replace a signature.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.config import from_dict, read_json, to_dict
from infdet_deploy.errors import BackendError, ConfigError
from infdet_deploy.files import sha256, whole_file, write_json
from infdet_deploy.runtime.backends.tensorrt.build_options import BuildOptions
from infdet_deploy.runtime.backends.tensorrt.engine import Engine
from infdet_deploy.runtime.compiled_cache import key_of

FORMAT = 1


@dataclass(frozen=True)
class Platform:
    """Where engines are built or run.

    target: `tensorrt` or `tensorrt-rtx`. version: of TensorRT. gpu, capability: the device, such as `Orin` and `8.7`;
    for TensorRT-RTX the GPU architectures and `any`.
    """

    target: str
    version: str
    gpu: str
    capability: str

    def runs(self, key: "Key") -> bool:
        """Whether an engine with this key runs here."""
        if key.target != self.target:
            return False
        same_gpu = (key.gpu, key.capability) == (self.gpu, self.capability)
        if key.options.get("hardware_compatible"):
            same_gpu = same_gpu or float(self.capability) >= 8.0  # Ampere
        same_version = key.version == self.version
        if key.options.get("version_compatible"):
            here, built = (tuple(map(int, text.split(".")[:3])) for text in (self.version, key.version))
            same_version = same_version or (here[0] == built[0] and here >= built)
        return same_gpu and same_version


@dataclass(frozen=True)
class Key(Platform):
    """What an engine was built on, from which graph, and with which options."""

    onnx_sha256: str
    options: dict[str, Any]

    def file(self, folder: Path, stage: str, precision: str) -> Path:
        """The path of the engine with this key."""
        return folder / f"{stage}.{precision}.{key_of(**asdict(self))[:16]}.engine"


@dataclass(frozen=True)
class Record:
    """The JSON file next to an engine. build_s … convolutions: as in `Engine`."""

    format: int
    stage: str
    precision: str
    key: Key
    engine_bytes: int
    engine_sha256: str
    build_s: float
    inspected: bool
    layers: dict[str, int]
    convolutions: dict[str, int]


def engine_folder(bundle: Path) -> Path:
    """The folder of a bundle's engines."""
    return bundle.resolve().with_suffix(".engines")


def make_key(platform: Platform, onnx: Path, options: BuildOptions) -> Key:
    """The key of the stage at `onnx`, built on this platform with these options."""
    values = {name: value for name, value in to_dict(options).items() if name not in ("target", "precisions")}
    return Key(**asdict(platform), onnx_sha256=sha256(onnx), options=values)


def store(path: Path, stage: str, precision: str, key: Key, engine: Engine) -> Record:
    """Write an engine to `path`, then its record."""
    record_path = path.with_suffix(".json")
    record_path.unlink(missing_ok=True)  # an old record does not describe the new engine
    with whole_file(path) as temporary:
        temporary.write_bytes(engine.data)
    digest, types = hashlib.sha256(engine.data).hexdigest(), (engine.layers, engine.convolutions)
    record = Record(FORMAT, stage, precision, key, len(engine.data), digest, engine.build_s, engine.inspected, *types)
    write_json(record_path, asdict(record))
    return record


def lookup(path: Path, key: Key) -> Record | None:
    """The record of the engine at `path`, if it has this key and is unchanged."""
    record = _read(path.with_suffix(".json"))
    if record is None or record.key != key or not path.is_file() or sha256(path) != record.engine_sha256:
        return None
    return record


def find(onnx: Path, precision: str, platform: Platform) -> tuple[Path, Record] | None:
    """The newest engine of the stage at `onnx` that this platform can run, whatever its other options."""
    folder, stage = engine_folder(onnx.parent), onnx.name.split(".")[0]
    records = sorted(folder.glob(f"{stage}.{precision}.*.json"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    digest = sha256(onnx) if records else ""
    for path in records:
        record, engine = _read(path), path.with_suffix(".engine")
        if record and record.key.onnx_sha256 == digest and platform.runs(record.key) and engine.is_file():
            return engine, record
    return None


def load(path: Path, record: Record) -> bytes:
    """The bytes of an engine. Raises BackendError if they do not match the record's SHA-256."""
    engine = path.read_bytes()
    if hashlib.sha256(engine).hexdigest() != record.engine_sha256:
        raise BackendError(f"{path} was changed since it was built (SHA-256 differs); delete it and build again")
    return engine


def _read(path: Path) -> Record | None:
    """A record; None if it is missing, damaged or in another format."""
    try:
        record = from_dict(Record, read_json(path))
    except ConfigError:
        return None
    return record if record.format == FORMAT else None

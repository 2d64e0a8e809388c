"""A bundle's manifest as typed objects, checked when it is read.

`manifest.py` reads the text; docs/bundle.md describes the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.bundle.manifest import WRONG_ENTRY, damaged, short
from infdet_deploy.config import from_dict
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import BundleError, ConfigError

STAGES = ("fen", "infrared_tower", "flow_tower", "head")
TOWERS = ("infrared_tower", "flow_tower")
# The stages of a network with these streams, in the order of the data flow.
STAGES_OF = {"both": STAGES, "infrared": ("infrared_tower", "head"), "flow": ("fen", "flow_tower", "head")}


def stream_stage(tower: str) -> str:
    """The name of an incremental tower: `infrared_tower_stream`."""
    return f"{tower}_stream"


@dataclass(frozen=True)
class TensorSpec:
    """A stage's input or output. shape: sizes, or names of varying dimensions such as `T`, `T+1`, `T'`, `8n`."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class StageSpec:
    """A stage's inputs and outputs, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.outputs)


@dataclass(frozen=True)
class StageEntry(StageSpec):
    """A stage in the manifest. files: format → precision → file name. multiply_adds: for 100 frames, in the exported
    graph and in the published network; None in old bundles."""

    files: Mapping[str, Mapping[str, str]]
    multiply_adds: int | None = None
    multiply_adds_original: int | None = None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "StageEntry":
        inputs, outputs = (
            tuple(TensorSpec(t["name"], t["dtype"], tuple(t["shape"])) for t in entry[end])
            for end in ("inputs", "outputs")
        )
        counts = (entry.get(key) for key in ("multiply_adds", "multiply_adds_original"))
        return cls(inputs, outputs, {name: dict(files) for name, files in entry["files"].items()}, *map(_whole, counts))


@dataclass(frozen=True)
class Incremental:
    """The incremental towers (manifest key `stream`): steps are multiples of `step_frames`; features are `features_lag`
    snippets, or `delay_frames` frames, late; a step's mask starts `history_frames` earlier. state_bytes: by tower."""

    step_frames: int
    delay_frames: int
    features_lag: int
    history_frames: int
    stages: Mapping[str, StageEntry]
    state_bytes: Mapping[str, int]

    @classmethod
    def from_json(cls, stream: Mapping[str, Any]) -> "Incremental":
        numbers = {name: stream[name] for name in ("step_frames", "delay_frames", "features_lag", "history_frames")}
        if not all(type(number) is int and 0 < number < 1000 for number in numbers.values()):
            raise ValueError(f"the numbers of frames in stream are {list(numbers.values())}")
        stages = {name: StageEntry.from_json(entry) for name, entry in stream["stages"].items()}
        return cls(**numbers, stages=stages, state_bytes=dict(stream.get("state_bytes", {})))


@dataclass(frozen=True)
class Parity:
    """An exported stage. operators: type → number of operators that compute in it. float32_before: the layer before
    which a float16 tower computes in float32, if any."""

    operators: Mapping[str, int]
    float32_before: str | None


@dataclass(frozen=True)
class FileEntry:
    """A listed file's size and SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become frames of size×size pixels: mode `resize` or `crop`. fps: of the training clips, if known."""

    size: int
    mode: str
    fps: float | None


@dataclass(frozen=True)
class Manifest:
    """A bundle's manifest.json. model: the network's configuration, which only `model/` interprets. parity: precision →
    stage."""

    name: str
    source: str
    made_by: Mapping[str, str]
    operators: str
    model: Mapping[str, Any]
    task: str
    streams: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    rule: DetectionRule
    stages: Mapping[str, StageEntry]
    incremental: Incremental | None
    parity: Mapping[str, Mapping[str, Parity]]
    files: Mapping[str, FileEntry]

    @classmethod
    def from_json(cls, folder: Path, data: Mapping[str, Any]) -> "Manifest":
        """Check the result of `read_manifest`. folder: the bundle, for errors.

        `files` may be missing while a bundle is being written. Raises BundleError.
        """
        try:
            manifest = cls._parse(folder, data)
            _check(folder, manifest, complete="files" in data)
        except WRONG_ENTRY as error:
            why = f"an entry is missing or of the wrong kind ({type(error).__name__}: {error})"
            raise damaged(folder, why) from None
        return manifest

    @classmethod
    def _parse(cls, folder: Path, data: Mapping[str, Any]) -> "Manifest":
        pictures, model = data["preprocessing"], data["model"]
        try:
            rule = from_dict(DetectionRule, data["rule"], "rule")
        except ConfigError as error:
            raise damaged(folder, error) from None
        if not isinstance(data["classes"], list):
            raise damaged(folder, f"classes are {data['classes']}")
        return cls(
            name=data["name"],
            source=str(data.get("source", "")),
            made_by={package: str(version) for package, version in data.get("made_by", {}).items()},
            operators=str(data.get("operators", "3d")),
            model=dict(model),
            task=model.get("task", "detection"),
            streams=model.get("streams", "both"),
            preprocessing=Preprocessing(pictures["size"], pictures["mode"], pictures.get("fps")),
            classes=tuple(data["classes"]),
            rule=rule,
            stages={name: StageEntry.from_json(entry) for name, entry in data["stages"].items()},
            incremental=Incremental.from_json(data["stream"]) if data.get("stream") is not None else None,
            parity={
                precision: {
                    stage: Parity(dict(entry.get("operators", {})), entry.get("float32_before"))
                    for stage, entry in stages.items()
                }
                for precision, stages in data.get("parity", {}).items()
            },
            files={name: FileEntry(entry["bytes"], entry["sha256"]) for name, entry in data.get("files", {}).items()},
        )


def _whole(count: object) -> int | None:
    return count if isinstance(count, int) else None


def _check(folder: Path, manifest: Manifest, complete: bool) -> None:
    """Raise BundleError if entries are invalid or contradict each other. complete: the manifest lists its files."""
    size, mode, fps = manifest.preprocessing.size, manifest.preprocessing.mode, manifest.preprocessing.fps
    if type(size) is not int or not 32 <= size <= 4096 or mode not in ("resize", "crop"):
        raise damaged(folder, f"preprocessing is {manifest.preprocessing}")
    if fps is not None and not (type(fps) in (int, float) and fps > 0):
        raise damaged(folder, f"preprocessing has fps {fps}, expected a number above 0")
    if not isinstance(manifest.name, str) or manifest.task not in ("detection", "recognition"):
        raise damaged(folder, f"name is {manifest.name}, task is {manifest.task}")
    classes = manifest.classes
    if not classes or len(set(classes)) != len(classes) or not all(isinstance(c, str) and c for c in classes):
        raise damaged(folder, f"classes are {list(classes)}, expected at least one, none twice")
    for stage in STAGES_OF[manifest.streams]:
        if stage not in manifest.stages:
            raise BundleError(f"{folder}: stage '{stage}' is missing from the manifest; export again")
    for file in manifest.files.values():
        if type(file.bytes) is not int:
            raise damaged(folder, f"the size of a file is {file.bytes}")
    incremental = manifest.incremental
    for stage, entry in (*manifest.stages.items(), *(incremental.stages.items() if incremental else ())):
        _check_stage(folder, stage, entry, manifest.files if complete else None)
    if incremental is not None:
        for tower in (stage for stage in STAGES_OF[manifest.streams] if stage in TOWERS):
            for tensor in incremental.stages[stream_stage(tower)].inputs[2:]:
                if tensor.dtype != "float32" or not all(type(n) is int and n > 0 for n in tensor.shape):
                    raise damaged(folder, f"state {tensor.name} of {stream_stage(tower)} is {tensor}")
    if len(manifest.rule.thresholds) != len(classes):
        raise BundleError(f"{folder}: {len(classes)} classes but {len(manifest.rule.thresholds)} thresholds")


def _check_stage(folder: Path, stage: str, entry: StageEntry, listed: Mapping[str, FileEntry] | None) -> None:
    if not all(isinstance(name, str) for name in (*entry.input_names, *entry.output_names)):
        raise damaged(folder, f"inputs or outputs of {stage} have no names")
    for format, files in entry.files.items():
        for precision, name in files.items():
            what = short(f"{stage} {precision} {format} is '{name}'")
            if listed is not None and name not in listed:
                raise BundleError(f"{folder}: {what}, which the manifest does not list")
            if format == "onnx" and not name.endswith(".onnx"):  # other names are not searched for external data
                raise BundleError(f"{folder}: {what}, expected a name that ends in .onnx")

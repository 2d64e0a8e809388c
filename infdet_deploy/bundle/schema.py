"""A bundle's manifest as typed objects, checked when it is read.

`manifest.py` reads the text; docs/bundle.md describes the format.
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from infdet_deploy.bundle.manifest import damaged, short
from infdet_deploy.config import from_dict
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import BundleError, ConfigError
from infdet_deploy.video.background import Levels

STAGES = ("fen", "infrared_tower", "flow_tower", "head")
TOWERS = ("infrared_tower", "flow_tower")
# The stages of a network with these streams, in the order of the data flow.
STAGES_OF = {"both": STAGES, "infrared": ("infrared_tower", "head"), "flow": ("fen", "flow_tower", "head")}

# The format of ONNX files that OpenVINO runs instead of the plain ones where the shapes of all inputs are fixed.
FIXED_SHAPES = "openvino_fixed_shapes"
# Formats in the manifest whose files are ONNX: for all backends, or made for one of them.
ONNX_FORMATS = ("onnx", "openvino", FIXED_SHAPES, "onnxruntime", "tensorrt")
MAX_STATE_NUMBERS = 1 << 28  # far more than the state of any incremental tower


def stream_stage(tower: str) -> str:
    """The name of an incremental tower: `infrared_tower_stream`."""
    return f"{tower}_stream"


def features_name(tower: str) -> str:
    """The name of a tower's features among the head's inputs: `infrared_features`."""
    return tower.replace("_tower", "_features")


class _Entry:
    """An object in the manifest. Later versions may add keys that this one does not know."""

    ignores_unknown_keys: ClassVar[bool] = True

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Raises ConfigError for a missing key or a value of the wrong type."""
        return from_dict(cls, values, cls.__name__)


@dataclass(frozen=True)
class TensorSpec(_Entry):
    """A stage's input or output. shape: sizes, or names of varying dimensions such as `T`, `T+1`, `T'`, `8n`."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class StageSpec(_Entry):
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
    """A stage in the manifest. files: format → precision → file name. multiply_adds: for 100 frames, in this
    stage's PyTorch module and in the published network; None in old bundles."""

    files: dict[str, dict[str, str]]
    multiply_adds: int | None = None
    multiply_adds_original: int | None = None


@dataclass(frozen=True)
class Incremental(_Entry):
    """The incremental towers (manifest key `stream`): steps are multiples of `step_frames`; features are `features_lag`
    snippets, or `delay_frames` frames, late; a step's mask starts `history_frames` earlier. state_bytes: by tower."""

    step_frames: int
    delay_frames: int
    features_lag: int
    history_frames: int
    stages: dict[str, StageEntry]
    state_bytes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.step_frames, self.delay_frames, self.features_lag, self.history_frames)
        if not all(0 < number < 1000 for number in numbers):
            raise ConfigError(f"the numbers of frames in stream are {numbers}, expected 1 to 999")


@dataclass(frozen=True)
class Parity(_Entry):
    """An exported stage. operators: type → number of operators that compute in it. float32_before: the layer before
    which a float16 tower computes in float32, if any."""

    operators: dict[str, int] = field(default_factory=dict)
    float32_before: str | None = None


@dataclass(frozen=True)
class FileEntry(_Entry):
    """A listed file's size and SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Preprocessing(_Entry):
    """How pictures become frames of size×size pixels; see `video.preparation`. fps: of the training clips, if known."""

    size: int
    mode: Literal["resize", "crop"]
    fps: float | None = None
    levels: Levels = "range"
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        wrong_rate = self.frame_rate is not None and not 1 <= self.frame_rate <= 1000
        if not 32 <= self.size <= 4096 or not (self.fps is None or self.fps > 0) or wrong_rate:
            raise ConfigError(
                f"preprocessing is {self}, expected a size from 32 to 4096, fps above 0 and frame_rate from 1 to 1000"
            )


@dataclass(frozen=True)
class Manifest:
    """A bundle's manifest.json. model: the network's configuration, which only `model/` interprets. parity: precision →
    stage."""

    name: str
    source: str
    made_by: dict[str, str]
    operators: str
    model: dict[str, Any]
    task: Literal["detection", "recognition"]
    streams: Literal["both", "infrared", "flow"]
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    rule: DetectionRule
    stages: dict[str, StageEntry]
    incremental: Incremental | None
    parity: dict[str, dict[str, Parity]]
    files: dict[str, FileEntry]

    ignores_unknown_keys: ClassVar[bool] = True

    @classmethod
    def from_json(cls, folder: Path, data: dict[str, Any]) -> "Manifest":
        """Check the result of `read_manifest`. folder: the bundle, for errors.

        `files` may be missing while a bundle is being written. Raises BundleError.
        """
        values = {"made_by": {}, "parity": {}, "files": {}, **data}
        network = {"task": "detection", "streams": "both"} | (data["model"] if isinstance(data["model"], dict) else {})
        values |= {"task": network["task"], "streams": network["streams"]}
        values |= {"source": str(data.get("source") or ""), "operators": str(data.get("operators") or "3d")}
        if isinstance(values["made_by"], dict):
            values["made_by"] = {package: str(version) for package, version in values["made_by"].items()}
        try:
            values["stages"], stream = _whole_counts(data["stages"]), data.get("stream")
            if isinstance(stream, dict):
                stream = stream | {"stages": _whole_counts(stream.get("stages"))}
            values["incremental"] = None if stream is None else from_dict(Incremental, stream, "manifest: 'stream'")
            manifest = from_dict(cls, values, "manifest")
        except (ConfigError, OverflowError) as error:
            raise damaged(folder, error) from None
        _check(folder, manifest, complete="files" in data)
        return manifest

    @property
    def all_stages(self) -> dict[str, StageEntry]:
        """The stages and the incremental towers; a stage comes before a tower of its name."""
        return {**self.stages, **(self.incremental.stages if self.incremental else {}), **self.stages}


def _whole_counts(stages: Any) -> Any:
    """Entries of stages, without counts that are not whole numbers."""
    if not isinstance(stages, dict):
        return stages
    counts = ("multiply_adds", "multiply_adds_original")
    return {
        stage: {key: value for key, value in entry.items() if key not in counts or type(value) is int}
        if isinstance(entry, dict)
        else entry
        for stage, entry in stages.items()
    }


def _check(folder: Path, manifest: Manifest, complete: bool) -> None:
    """Raise BundleError if entries contradict each other. complete: the manifest lists its files."""
    classes, stages = manifest.classes, STAGES_OF[manifest.streams]
    if not classes or len(set(classes)) != len(classes) or not all(classes):
        raise damaged(folder, f"classes are {list(classes)}, expected at least one, none twice")
    if len(manifest.rule.thresholds) != len(classes):
        raise BundleError(f"{folder}: {len(classes)} classes but {len(manifest.rule.thresholds)} thresholds")
    for stage in stages:
        if stage not in manifest.stages:
            raise BundleError(f"{folder}: stage '{stage}' is missing from the manifest; export again")
    towers = manifest.incremental.stages if manifest.incremental else {}
    for stage, entry in (*manifest.stages.items(), *towers.items()):
        for format, files in entry.files.items():
            for precision, name in files.items():
                what = short(f"{stage} {precision} {format} is '{name}'")
                if complete and name not in manifest.files:
                    raise BundleError(f"{folder}: {what}, which the manifest does not list")
                if format in ONNX_FORMATS and not name.endswith(".onnx"):  # the files that `onnx_file` checks
                    raise BundleError(f"{folder}: {what}, expected a name that ends in .onnx")
    if manifest.incremental is not None:
        for tower in map(stream_stage, (stage for stage in stages if stage in TOWERS)):
            if tower not in towers:
                raise damaged(folder, f"stream has no {tower}")
            if len(towers[tower].inputs) < 2:
                raise damaged(folder, f"stream: {tower} has fewer than 2 inputs")
            for tensor in towers[tower].inputs[2:]:
                fixed = tensor.dtype == "float32" and all(isinstance(n, int) and n > 0 for n in tensor.shape)
                if not fixed or prod(map(float, tensor.shape)) > MAX_STATE_NUMBERS:
                    raise damaged(folder, f"state {tensor.name} of {tower} is {tensor}")

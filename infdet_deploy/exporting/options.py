"""The settings of `export`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import UsageError
from infdet_deploy.precision import Precision, parse_precisions
from infdet_deploy.video.resize import Mode

OnProgress = Callable[[int, int, str], None]  # steps done, all steps, the next step
FORMATS = ("onnx", "torchscript")


@dataclass(frozen=True)
class ExportOptions:
    """Settings of `export`. Raises UsageError for an unknown name, and for options that exclude each other.

    precisions: any of float32, float16, bfloat16, int8; int8 is made from float32.
    formats: onnx, torchscript or both; int8 and incremental towers are ONNX.
    incremental: also write the incremental towers that `watch` needs.
    whole_network: also write all stages as one graph, frames in and scores out; this stores every weight twice.
    conv2d: write 3D convolutions and pools as 2D ones over shifted frames; scores stay the same.
    winograd: also write the float32 towers with Winograd convolutions, which OpenVINO runs where shapes are fixed; only
        towers that gain from them get such files.
    weights: also write the network's weights, which `verify` uses to compare stages with the network.
    calibrate: a data set or a folder of recordings, similar to the network's later input: for calibrating and checking
        int8, and for measuring float16's value ranges.
    max_map_drop: points of mAP@0.5 that int8 may lose on it; default: 1.
    """

    precisions: tuple[Precision, ...] = ("float32",)
    formats: tuple[str, ...] = FORMATS
    incremental: bool = True
    whole_network: bool = False
    conv2d: bool = False
    winograd: bool = False
    weights: bool = True
    calibrate: Path | None = None
    max_map_drop: float | None = None

    def __post_init__(self) -> None:
        parse_precisions(self.precisions)
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"unknown format '{name}'; expected {', '.join(FORMATS)}")
        if not self.float_precisions or not self.formats:
            raise UsageError("an export needs at least one precision other than int8, and one format")
        if self.int8 and ("float32" not in self.precisions or "onnx" not in self.formats):
            raise UsageError("int8 is made from float32 ONNX; add both")
        if self.incremental and "onnx" not in self.formats:
            raise UsageError("incremental towers are ONNX; add that format, or leave them out")
        if self.winograd and (self.conv2d or "float32" not in self.precisions or "onnx" not in self.formats):
            raise UsageError("winograd is for float32 ONNX with 3D operators; add float32, or leave conv2d out")
        if self.max_map_drop is not None and not (self.int8 and self.max_map_drop >= 0):
            raise UsageError("--max-map-drop is a number of 0 or more for int8; add int8, or leave --max-map-drop out")
        if self.calibrate is not None and not {"int8", "float16"} & set(self.precisions):
            raise UsageError("--calibrate is for int8 and float16; add one, or leave --calibrate out")

    @property
    def int8(self) -> bool:
        return "int8" in self.precisions

    @property
    def float_precisions(self) -> tuple[Precision, ...]:
        """All precisions but int8."""
        return tuple(precision for precision in self.precisions if precision != "int8")


@dataclass(frozen=True)
class Origin:
    """The manifest's facts about the network's training.

    rule: how scores become detections, `default_rule` where None. source: the run's name. frame_mode: `resize` or
    `crop`. fps: frames per second of the training clips, where known.
    """

    rule: DetectionRule | None = None
    source: str = ""
    frame_mode: Mode = "resize"
    fps: float | None = None

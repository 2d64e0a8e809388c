"""Options of a build, and the input shapes an engine supports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from infdet_deploy.errors import UsageError
from infdet_deploy.precision import Precision
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES, STEP_FRAMES, feature_length

if TYPE_CHECKING:  # it would import numpy for --help
    from infdet_deploy.bundle.schema import TensorSpec

Target = Literal["tensorrt", "tensorrt-rtx"]
Shape = tuple[int, ...]
ShapeRange = tuple[Shape, Shape, Shape]  # shortest, usual, longest
MAX_STEP_FRAMES = 128  # longest step of an incremental tower


@dataclass(frozen=True)
class BuildOptions:
    """What to build engines for. Raises UsageError for values that do not fit together.

    target: `tensorrt` builds for this machine's GPU; `tensorrt-rtx` builds for the GPU architectures in `arch` and
        needs no GPU.
    precisions: precisions of the bundle to build; None builds all of them.
    frames: shortest, usual and longest T of a chunk, multiples of 4.
    clip_frames: frames of the longest clip; the head sees the features of a whole clip at once.
    memory_mb: scratch memory that a layer may use, in MB; None leaves TensorRT's own limit.
    dla: number of a DLA core, which then runs the layers it supports.
    hardware_compatible: engines also run on other GPUs from Ampere on.
    version_compatible: engines also run on later TensorRT versions with the same major number.
    arch: GPU architectures such as `sm86`, for `tensorrt-rtx` only.
    """

    target: Target = "tensorrt"
    precisions: tuple[Precision, ...] | None = None
    frames: tuple[int, int, int] = (16, 128, 384)
    clip_frames: int = 32768
    memory_mb: int | None = None
    dla: int | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False
    arch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, usual, high = self.frames
        rtx = self.target == "tensorrt-rtx"
        if self.target not in get_args(Target):
            raise UsageError(f"target is {self.target}; expected {' or '.join(get_args(Target))}")
        if rtx and not self.arch:
            raise UsageError("target tensorrt-rtx needs GPU architectures, such as --arch sm86,sm89")
        if self.arch and not rtx:
            raise UsageError("target tensorrt builds for this machine's GPU; --arch is for tensorrt-rtx")
        if rtx and (self.dla is not None or self.hardware_compatible or self.version_compatible):
            raise UsageError("--dla, --hardware-compatible and --version-compatible are for target tensorrt")
        if any(t % 4 for t in self.frames) or not MIN_FRAMES <= low <= usual <= high:
            raise UsageError(
                f"frames is {low},{usual},{high}; expected MIN,OPT,MAX in multiples of 4, "
                f"{MIN_FRAMES} ≤ MIN ≤ OPT ≤ MAX"
            )
        if self.clip_frames < MIN_FRAMES:
            raise UsageError(f"clip frames is {self.clip_frames}; a clip has at least {MIN_FRAMES}")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise UsageError(f"memory is {self.memory_mb}; expected megabytes, 1 or more")
        if self.dla is not None and self.hardware_compatible:
            raise UsageError("--dla and --hardware-compatible exclude each other: a DLA program is for one device")
        if self.dla is not None and low != high:
            raise UsageError(f"a DLA supports one length only: give --frames {usual},{usual},{usual}, for example")


def profile(inputs: "Sequence[TensorSpec]", options: BuildOptions) -> dict[str, ShapeRange]:
    """Shortest, usual and longest shape of every input whose shape varies.

    inputs: a stage's inputs in the manifest. Their shapes name the dimensions that vary: `T`, `T+1`, `T'`, and `8n` or
    `8n+40` for incremental towers.
    """
    low, usual, high = options.frames
    fixed = options.dla is not None
    # The FEN reads a long clip in blocks, and the last block may be a single pair of frames.
    ranges = {
        "T": (low, usual, high),
        "T+1": (low + 1 if fixed else 2, usual + 1, high + 1),
        "T'": tuple(feature_length(t) for t in (low, usual, high if fixed else max(high, options.clip_frames))),
    }
    steps = (STEP_FRAMES,) * 3 if fixed else (FRAMES_PER_SNIPPET, STEP_FRAMES, MAX_STEP_FRAMES)

    def size(dimension: int | str, i: int) -> int:
        if isinstance(dimension, int):
            return dimension
        if dimension in ranges:
            return ranges[dimension][i]
        return steps[i] + int(dimension.partition("+")[2] or 0)

    def shape(tensor: "TensorSpec", i: int) -> Shape:
        return tuple(size(dimension, i) for dimension in tensor.shape)

    return {
        tensor.name: (shape(tensor, 0), shape(tensor, 1), shape(tensor, 2))
        for tensor in inputs
        if any(isinstance(dimension, str) for dimension in tensor.shape)
    }

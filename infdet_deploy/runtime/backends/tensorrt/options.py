"""How engines are built, and the shapes that they take."""

from collections.abc import Sequence
from dataclasses import dataclass

from infdet_deploy.bundle.schema import TensorSpec
from infdet_deploy.errors import UsageError
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES, STEP_FRAMES, feature_length

Shape = tuple[int, ...]
STEP_FRAMES_MAX = 128  # of towers as steps
TARGETS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # what --target says → the package that builds it


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built for. Raises UsageError for values that make no sense.

    frames: shortest, usual and longest T of a chunk, multiples of 4. clip_frames: the longest clip, whose features the
    head sees all at once. memory_mb: scratch memory the builder may give a layer; TensorRT's own limit where None.
    dla: number of the DLA core, where one computes what it can. hardware_compatible: runs on every GPU from Ampere on.
    version_compatible: runs on later versions of TensorRT of the same major number. arch: GPU architectures such as
    `sm86`, for TensorRT-RTX alone.
    """

    frames: tuple[int, int, int] = (16, 128, 384)
    clip_frames: int = 32768
    memory_mb: int | None = None
    dla: int | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False
    arch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, usual, high = self.frames
        if any(t % 4 for t in self.frames) or not MIN_FRAMES <= low <= usual <= high:
            raise UsageError(
                f"--frames is {low},{usual},{high}; expected MIN,OPT,MAX in multiples of 4, "
                f"{MIN_FRAMES} ≤ MIN ≤ OPT ≤ MAX"
            )
        if self.clip_frames < MIN_FRAMES:
            raise UsageError(f"--clip-frames is {self.clip_frames}; a clip needs at least {MIN_FRAMES}")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise UsageError(f"--memory is {self.memory_mb}; expected megabytes, 1 or more")
        if self.dla is not None and self.hardware_compatible:
            raise UsageError("--dla and --hardware-compatible exclude each other: a DLA program is for one device")
        if self.dla is not None and low != high:
            raise UsageError(f"--dla takes one fixed length: give --frames {usual},{usual},{usual}, for example")


def profile(inputs: Sequence[TensorSpec], options: BuildOptions) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Shortest, usual and longest shape of every input that varies.

    inputs: a stage's entries in the manifest, whose shapes name the dimensions that vary: `T`, `T+1`, `T'`; of towers
    as steps `8n` and `8n+…`.
    """
    low, usual, high = options.frames
    # The flow of a long clip is computed in blocks, the last of which may hold a single pair of frames. The head alone
    # sees all features of a clip. A DLA takes one fixed length.
    fixed = options.dla is not None
    ranges = {
        "T": (low, usual, high),
        "T+1": (low + 1 if fixed else 2, usual + 1, high + 1),
        "T'": tuple(feature_length(t) for t in (low, usual, high if fixed else max(high, options.clip_frames))),
    }
    steps = (STEP_FRAMES,) * 3 if fixed else (FRAMES_PER_SNIPPET, STEP_FRAMES, STEP_FRAMES_MAX)

    def size(dimension: int | str, i: int) -> int:
        if isinstance(dimension, int):
            return dimension
        if dimension in ranges:
            return ranges[dimension][i]
        return steps[i] + int(dimension.partition("+")[2] or 0)  # `8n`, `8n+40`: frames of a step

    shapes = {}
    for tensor in inputs:
        varying = [d for d in tensor.shape if isinstance(d, str)]
        if varying:
            low_shape, usual_shape, high_shape = (tuple(size(d, i) for d in tensor.shape) for i in range(3))
            shapes[tensor.name] = (low_shape, usual_shape, high_shape)
    return shapes

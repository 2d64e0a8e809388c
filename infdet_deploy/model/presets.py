"""The network's configuration and its named sizes."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from infdet_deploy.config import from_dict, to_dict
from infdet_deploy.detections import INFDET_CLASSES
from infdet_deploy.errors import ConfigError
from infdet_deploy.video.background import Levels
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.resize import Mode

Streams = Literal["infrared", "flow", "both"]
FlowSource = Literal["fen", "tvl1"]
Task = Literal["detection", "recognition"]
FusionKind = Literal["none", "sca", "cross", "self", "late", "min", "max", "concat"]


def expect(config: Any, where: str, names: str, valid: Callable[[Any], bool], expected: str) -> None:
    """Raise ConfigError for the first of these fields of a configuration whose value is not valid."""
    for name in names.split():
        if not valid(getattr(config, name)):
            raise ConfigError(f"{where}: {name} is {getattr(config, name)}, expected {expected}")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build the network."""

    classes: tuple[str, ...] = INFDET_CLASSES  # in the order of the scores' last axis
    # 3: horizontal, vertical and length in our training, a colour picture in the published one. 2: horizontal and
    # vertical, for a Kinetics flow tower.
    flow_channels: int = 3
    size: int = 224  # height and width of the frames in pixels, a multiple of 32
    # How thermal counts become grey levels, and the frame rate to which recordings are interpolated; see
    # `video.preparation.Preparation`.
    levels: Levels = "range"
    frame_rate: float | None = None
    flow_stride: int = 4  # the FEN computes flow at every 4th pixel of each row and column, every 2nd, or all (1)
    channel_divisor: int = 1  # divides every hidden channel count; 1 is the published width
    selection_divisor: int = 1  # divides the hidden channels of SCA's selection once more; 1 is the published width
    fen_projection: bool = False  # a 1×1 projection in the FEN's layer4, which the paper's parameter count implies
    streams: Streams = "both"  # the towers
    flow: FlowSource = "fen"  # the flow tower's input: the network's own FEN, or TV-L1
    # How two streams are fused (paper, Tables IV and V): selective cross-stream attention (`sca`), without selection
    # (`cross`), each stream attending to itself (`self`), `min`, `max` or concatenation (`concat`) of the features, or
    # the mean of two classifiers' scores (`late`). One stream has `none` or `self`.
    fusion: FusionKind = "sca"
    task: Task = "detection"  # of timed instances; `recognition` of trimmed clips averages the scores over snippets

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"model: classes are {list(self.classes)}, expected at least one and no name twice")
        expect(self, "model", "flow_channels", lambda n: n in (2, 3), "2 or 3")
        expect(self, "model", "size", lambda n: n >= 32 and n % 32 == 0, "a multiple of 32")
        expect(self, "model", "flow_stride", lambda n: n in (1, 2, 4), "1, 2 or 4")
        expect(self, "model", "channel_divisor selection_divisor", lambda n: n in (1, 2, 4, 8), "1, 2, 4 or 8")
        expect(self, "model", "frame_rate", lambda n: n is None or 1 <= n <= 1000, "1 to 1000 frames/s")
        if self.streams == "both" and self.fusion == "none":
            raise ConfigError("model: fusion is 'none', but two streams must be fused; use sca")
        if self.streams != "both" and self.fusion not in ("none", "self"):
            raise ConfigError(f"model: fusion is '{self.fusion}', one stream has none or self")
        if self.has_fen and self.flow_size < 16:
            raise ConfigError(
                f"model: size is {self.size}, with flow_stride {self.flow_stride} a FEN needs "
                f"{16 * self.flow_stride} or more, so that the FEN's smallest layer has pixels to normalise"
            )

    @property
    def features(self) -> int:
        """Channels of one snippet's feature, `d`: 1024 at the published width."""
        return self.channels(1024)

    @property
    def fused_features(self) -> int:
        """Channels of one snippet's feature after the fusion."""
        return self.features * (2 if self.fusion in ("concat", "late") else 1)

    @property
    def has_flow(self) -> bool:
        """Whether the network has a flow tower."""
        return self.streams != "infrared"

    @property
    def has_fen(self) -> bool:
        """Whether the network estimates its flow."""
        return self.has_flow and self.flow == "fen"

    @property
    def flow_size(self) -> int:
        """Height and width of the flow: 56 at the published size."""
        return self.size // self.flow_stride

    def preparation(self, mode: Mode = "resize") -> Preparation:
        """How recordings become this network's frames."""
        return Preparation(self.size, mode, self.levels, self.frame_rate)

    def channels(self, published: int) -> int:
        """A published channel count at this width."""
        return published // self.channel_divisor

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` reads them back."""
        return to_dict(self)

    @classmethod
    def from_json(cls, values: Any, where: str = "model") -> "ModelConfig":
        """Read a configuration; raises ConfigError naming an unknown key or a wrong value."""
        return from_dict(cls, values, where)


PRESETS = {
    "small": ModelConfig(size=64, channel_divisor=8, frame_rate=12.5, streams="infrared", fusion="none"),
    "array": ModelConfig(
        size=32, channel_divisor=8, levels="background", frame_rate=12.0, flow_stride=2, streams="infrared",
        fusion="none",
    ),
    "tiny": ModelConfig(size=64, channel_divisor=4, selection_divisor=4),
    "infdet": ModelConfig(),
}  # fmt: skip


def preset_like(config: ModelConfig) -> str:
    """The name of the preset of a network's frames and width; "" if there is none."""
    kinds = {(p.size, p.levels, p.frame_rate, p.channel_divisor): name for name, p in PRESETS.items()}
    return kinds.get((config.size, config.levels, config.frame_rate, config.channel_divisor), "")


def preset(name: str) -> ModelConfig:
    """The configuration of a named size.

    `small`: infrared alone at 12.5 frames/s, which trains in minutes on a CPU; the pretrained network is of this size.
    `array`: for thermal sensors of few pixels, such as 16×16 or 32×24, in which a person is 1 K warmer than the
    background. `infdet`: the paper's network. `tiny`: all its parts, with a quarter of the channels.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'; presets are {', '.join(PRESETS)}")
    return PRESETS[name]

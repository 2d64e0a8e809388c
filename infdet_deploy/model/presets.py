"""The network's configuration and its named sizes."""

import dataclasses
from typing import Any

from infdet_deploy.annotations import INFDET_CLASSES
from infdet_deploy.config import from_dict, to_dict
from infdet_deploy.errors import ConfigError

FLOW_STRIDE = 4  # the FEN sees, and gives flow at, every 4th pixel


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build the network.

    classes: names in the order of the scores' last axis.
    flow_channels: 3 (horizontal, vertical and length in our training, a colour picture in the published one) or 2
    (horizontal, vertical: a Kinetics flow tower).
    size: height and width of the frames in pixels, a multiple of 32.
    channel_divisor: 1 is the published width; every hidden channel count is divided by it.
    fen_projection: put a 1×1 projection into the FEN's layer4, as the paper's parameter count implies.
    """

    classes: tuple[str, ...] = INFDET_CLASSES
    flow_channels: int = 3
    size: int = 224
    channel_divisor: int = 1
    fen_projection: bool = False

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"model: classes are {list(self.classes)}, expected at least one and no name twice")
        if self.flow_channels not in (2, 3):
            raise ConfigError(f"model: flow_channels is {self.flow_channels}, expected 2 or 3")
        if self.size < 32 or self.size % 32:
            raise ConfigError(f"model: size is {self.size}, expected a multiple of 32")
        if self.channel_divisor not in (1, 2, 4, 8):
            raise ConfigError(f"model: channel_divisor is {self.channel_divisor}, expected 1, 2, 4 or 8")

    @property
    def features(self) -> int:
        """Channels of one snippet's feature, `d`: 1024 at the published width."""
        return self.channels(1024)

    def channels(self, published: int) -> int:
        """A published channel count at this width."""
        return published // self.channel_divisor

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `from_json` gives an equal configuration back."""
        return to_dict(self)

    @classmethod
    def from_json(cls, values: Any, where: str = "model") -> "ModelConfig":
        """Read a configuration; raises ConfigError naming an unknown key or a wrong value."""
        return from_dict(cls, values, where)


PRESETS = {
    "infdet": ModelConfig(),
    "tiny": ModelConfig(size=64, channel_divisor=4),
}


def preset(name: str) -> ModelConfig:
    """The configuration of a named size: `infdet` (the paper's) or `tiny` (tests, training on a CPU)."""
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'; presets are {', '.join(PRESETS)}")
    return PRESETS[name]

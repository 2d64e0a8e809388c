"""A frame as a recording stores it, and what of a recording could not be used."""

from dataclasses import dataclass, field
from math import nan
from typing import Any, NamedTuple

from numpy.typing import NDArray


class RawFrame(NamedTuple):
    """A frame as a recording stores it.

    Attributes:
        pixels: uint8 [H,W], or uint16 for grey of more than 8 bits; valid only until the next frame is read.
        time_s: seconds on the recording's time line, which a player shows; NaN if unknown.
        fps: the file's declared rate in frames per second; None if it declares none.
        note: what the user should know about the recording; empty for most frames.
    """

    pixels: NDArray[Any]
    time_s: float = nan
    fps: float | None = None
    note: str = ""


@dataclass
class Doubts:
    """What of a recording could not be used, counted while it is read.

    Attributes:
        strict: refuse such a recording instead.
        damaged: packets and frames that do not decode, or that the decoder marks as damaged. gaps: runs of them.
        notes: a line for each kind of doubt, complete at the recording's end.
    """

    strict: bool = False
    damaged: int = 0
    gaps: int = 0
    notes: list[str] = field(default_factory=list)
    _losing: bool = False

    def lose(self) -> None:
        """Count a damaged packet or frame."""
        self.damaged += 1
        self.gaps += not self._losing
        self._losing = True

    def use(self) -> None:
        """A frame decodes, which ends a gap."""
        self._losing = False


def counted(number: int, noun: str) -> str:
    """Such as "1 frame" and "2 frames"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

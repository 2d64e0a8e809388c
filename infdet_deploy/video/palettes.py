"""False colours of thermal cameras → the intensity that they stand for.

The brightness of most palettes, such as ironbow, rises with the temperature. That of rainbow palettes does not: there,
warm and cold look alike. A recording in such a palette is recognised by its first frame and mapped back.
"""

import av
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.video.grey import grey

_COLOURED = 24  # levels between the largest and the smallest channel of a coloured pixel
_COLOURED_SHARE = 0.3  # of a frame's pixels in false colours
_NEAR, _FAR = 24.0, 60.0  # distance to the palette of most pixels, and of nine in ten: video coding moves colours
_SAMPLES = 4000  # pixels of the first frame
_BITS = 5  # of each channel in the table of colours

Colours = NDArray[np.float32]


def _jet() -> Colours:
    """Blue, cyan, yellow, red, dark at both ends: MATLAB's and OpenCV's jet."""
    x = np.linspace(0, 1, 256)
    channels = [np.clip(1.5 - np.abs(4 * x - centre), 0, 1) for centre in (3, 2, 1)]
    return np.asarray(np.stack(channels, 1) * 255, np.float32)


def _rainbow() -> Colours:
    """Hue from blue over green to red at full saturation."""
    hue = np.linspace(4, 0, 256)  # in sixths of the circle
    channels = [np.abs(hue - 3) - 1, 2 - np.abs(hue - 2), 2 - np.abs(hue - 4)]
    return np.asarray(np.clip(np.stack(channels, 1), 0, 1) * 255, np.float32)


PALETTES = {"jet": _jet(), "rainbow": _rainbow()}  # float32 [256, 3], RGB from cold to warm


class GreyOfRecording:
    """The grey pictures of one recording's frames. Call it for each frame in order.

    Attributes:
        note: what the user should know about colours, after the first frame; empty for grey recordings.
    """

    def __init__(self) -> None:
        self.note = ""
        self._known = False
        self._table: NDArray[np.uint8] | None = None  # intensity by colour, where a palette is recognised

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """uint8 [H, W], or uint16 for counts, see `grey`."""
        if not self._known:
            self._known = True
            self._recognise(frame)
        if self._table is None:
            return grey(frame)
        red, green, blue = np.moveaxis(_rgb(frame) >> (8 - _BITS), -1, 0).astype(np.intp)
        levels: NDArray[np.uint8] = self._table[(red << 2 * _BITS) | (green << _BITS) | blue]
        return levels

    def _recognise(self, frame: av.VideoFrame) -> None:
        if frame.format.name.startswith("gray"):
            return
        every = _rgb(frame).reshape(-1, 3)
        pixels = every[:: max(1, len(every) // _SAMPLES)].astype(np.float32)
        if (np.ptp(pixels, axis=1) > _COLOURED).mean() < _COLOURED_SHARE:
            return
        for name, colours in PALETTES.items():
            distance = np.sqrt(_nearest(pixels, colours)[1])
            if np.median(distance) < _NEAR and np.quantile(distance, 0.9) < _FAR:
                steps = (np.arange(1 << _BITS, dtype=np.float32) + 0.5) * (256 >> _BITS)
                grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
                self._table = _nearest(grid, colours)[0].astype(np.uint8)
                self.note = f"false colours ({name}): mapped back to intensity"
                return
        self.note = "coloured: only the brightness is used; record thermal video in white-hot, without a palette"


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _nearest(pixels: Colours, colours: Colours) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each pixel [n, 3] the index of the nearest of the colours [256, 3], and its squared distance."""
    distances = (pixels**2).sum(1)[:, None] - 2 * pixels @ colours.T + (colours**2).sum(1)
    index = distances.argmin(1)
    return index, np.maximum(distances[np.arange(len(pixels)), index], 0)

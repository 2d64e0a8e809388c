"""Optical flow as colours: direction as hue, length as saturation; TV-L1 flow next to the estimated flow."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.plots.figure import plain, pyplot, save_figure

_PAIRS = 4


def flow_colours(flow: NDArray[np.floating[Any]], longest: float) -> NDArray[np.float64]:
    """Colours of a flow field.

    flow: [2, h, w], horizontal (to the right) and vertical (downwards). Hue is the direction: red is right,
    yellow-green is down. Saturation is the length divided by `longest`, at most 1; no motion is white. Returns RGB,
    float64 [h, w, 3], 0–1.
    """
    from matplotlib.colors import hsv_to_rgb

    x, y = np.asarray(flow, np.float64)
    hue = np.arctan2(y, x) / (2 * np.pi) % 1.0
    saturation = np.minimum(np.hypot(x, y) / longest, 1.0)
    return np.asarray(hsv_to_rgb(np.stack([hue, saturation, np.ones_like(hue)], axis=-1)))


def liveliest_pairs(flow: NDArray[np.floating[Any]], count: int = _PAIRS) -> list[int]:
    """The frame with the most motion in each of `count` equal parts of a clip.

    flow: [T−1, c, h, w], of which the first two channels are used. Returns rising frame numbers, at most T−1.
    """
    motion = np.hypot(flow[:, 0], flow[:, 1], dtype=np.float64).mean(axis=(1, 2))
    parts = np.array_split(np.arange(len(motion)), min(count, len(motion)))
    return [int(part[motion[part].argmax()]) for part in parts]


def draw_flow(
    path: Path | str,
    name: str,
    frames: NDArray[np.uint8],
    times_s: NDArray[np.float64],
    target: NDArray[np.floating[Any]],
    estimate: NDArray[np.floating[Any]],
    limit_px: float,
) -> Path:
    """Write a PNG with a row for each of P frame pairs: the first frame, its TV-L1 flow, the estimated flow.

    name: the clip's. frames: uint8 [P, S, S]. times_s: [P]. target, estimate: [P, c, h, w], the first two channels
    horizontal and vertical displacement in units of `limit_px` pixels of the frame. The scale of the colours is the
    target's. Titles give means over both channels. Raises InfdetError without matplotlib.
    """
    plt = pyplot()

    target_px, estimate_px = (np.asarray(flow[:, :2], np.float64) * limit_px for flow in (target, estimate))
    longest_px = max(float(np.quantile(np.hypot(*target_px.swapaxes(0, 1)), 0.995)), 0.1)
    rows = len(frames)
    figure = plt.figure(figsize=(10.4, 0.6 + 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, 4, width_ratios=(1, 1, 1, 0.4), squeeze=False)
    for row, (frame, wanted, found, time_s) in enumerate(zip(frames, target_px, estimate_px, times_s, strict=True)):
        grid[row, 0].imshow(frame, cmap="inferno", vmin=0, vmax=255)
        grid[row, 1].imshow(flow_colours(wanted, longest_px))
        grid[row, 2].imshow(flow_colours(found, longest_px))
        titles = (
            f"{plain(name)}, {time_s:.2f} s",
            f"TV-L1: mean |flow| {np.abs(wanted).mean():.2f} px",
            f"FEN: mean |difference| {np.abs(found - wanted).mean():.2f} px",
        )
        for panel, title in zip(grid[row], titles, strict=False):
            panel.set_title(title, fontsize=9)
            panel.set(xticks=[], yticks=[])
        grid[row, 3].axis("off")
    _wheel(grid[0, 3], longest_px)
    figure.suptitle(f"flow from a frame to the next, in pixels of the {frames.shape[1]}-pixel frame", fontsize=11)
    return save_figure(figure, path)


def _wheel(panel: Any, longest_px: float) -> None:
    """The colour code: motion from the middle to the rim; the rim is `longest_px` or more."""
    y, x = np.mgrid[-1:1:129j, -1:1:129j]
    inside = (np.hypot(x, y) <= 1).astype(np.float64)
    panel.imshow(np.dstack([flow_colours(np.stack([x, y]), 1.0), inside]))
    panel.set_title(f"rim: {longest_px:.2f} px or more\nin that direction", fontsize=8)

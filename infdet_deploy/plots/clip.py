"""One picture of a clip: a strip of frames, the score curves, detections over the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.datasets.annotations import Instance
from infdet_deploy.detections import Detection
from infdet_deploy.errors import missing_package
from infdet_deploy.files import whole_file
from infdet_deploy.snippets import valid_length
from infdet_deploy.video import Video

STRIP_FRAMES = 10
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")


@dataclass(frozen=True)
class Shown:
    """A recording too long to lie in memory. length: frames; pictures: gives those of some numbers, uint8 [n, S, S]."""

    name: str
    length: int
    fps: float
    pictures: Callable[[np.ndarray], np.ndarray]


def draw_clip(
    path: Path | str,
    video: Video | Shown,
    scores: np.ndarray,
    classes: Sequence[str],
    thresholds: Sequence[float],
    detections: Sequence[Detection],
    truth: Sequence[Instance] | None = None,
    note: str = "",
) -> Path:
    """Write a PNG. scores: [T', C]; truth None where none is known; note: goes into the title.

    Raises InfdetError without matplotlib.
    """
    plt = pyplot()

    if isinstance(video, Video):
        video = Shown(video.name, len(video.frames), video.fps, video.frames.__getitem__)
    end_s = video.length / video.fps
    rows = len(classes)
    figure, (strip, curves, bars) = plt.subplots(
        3, 1, figsize=(12, 4.6 + 0.55 * rows), height_ratios=(1.5, 2.4, 0.55 * rows + 0.3), layout="constrained"
    )
    picks = ((np.arange(STRIP_FRAMES) + 0.5) / STRIP_FRAMES * video.length).astype(int)
    strip.imshow(np.hstack(list(video.pictures(picks))), cmap="inferno", aspect="auto", extent=(0, end_s, 0, 1))
    title = f"{video.name}  ({video.length} frames, {video.fps:g} frames/s)"
    strip.set(yticks=[], xticks=[], title="   ".join(filter(None, (title, note))))
    times = (np.arange(len(scores)) + 0.5) * (end_s / max(valid_length(video.length), 1))
    for index, label in enumerate(classes):
        colour = COLOURS[index % len(COLOURS)]
        curves.plot(times, scores[:, index], color=colour, label=label)
        curves.axhline(thresholds[index], color=colour, linestyle=":", linewidth=1)
        for kind, offset, alpha, items in (("truth", 0.06, 0.35, truth or ()), ("found", -0.34, 1.0, detections)):
            for item in items:
                if item.label == label:
                    width = item.end_s - item.start_s
                    bars.barh(index + offset + 0.14, width, 0.28, item.start_s, color=colour, alpha=alpha)
                    if kind == "found":
                        text = f"{item.score:.2f}"  # type: ignore[union-attr]
                        bars.text(item.start_s + width / 2, index - 0.2, text, ha="center", va="center", fontsize=7)
    curves.set(xlim=(0, end_s), ylim=(0, 1), ylabel="score", xticklabels=[])
    curves.legend(loc="upper right", ncols=min(rows, 6), fontsize=8)
    below = (
        "pale: truth, full: detections with their score; dotted: thresholds"
        if truth is not None
        else "detections with their score; dotted: thresholds"
    )
    bars.set(xlim=(0, end_s), ylim=(rows - 0.5, -0.5), yticks=range(rows), yticklabels=classes)
    bars.set_xlabel(f"time (s)      {below}")
    return save_figure(figure, path)


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files; raises InfdetError where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise missing_package("matplotlib", "plot", "drawing a picture") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def save_figure(figure: Any, path: Path | str) -> Path:
    """Write a figure whole or not at all, in the format that the suffix names, and close it."""
    path = Path(path)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix.lstrip(".") or "png")
    pyplot().close(figure)
    return path

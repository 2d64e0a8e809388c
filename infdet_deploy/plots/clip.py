"""A picture of a clip: frames, score curves, detections and annotations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infdet_deploy.datasets.instances import Instance
from infdet_deploy.detections import Detection, DetectionRule, runs
from infdet_deploy.plots.figure import COLOURS, legend_below, pyplot, save_figure
from infdet_deploy.video import Video

STRIP_FRAMES = 10


@dataclass(frozen=True)
class VideoPreview:
    """A recording too long for memory. length: frames. pictures: frame numbers → those frames, uint8 [n, S, S]."""

    name: str
    length: int
    fps: float
    pictures: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]


def draw_clip(
    path: Path | str,
    video: Video | VideoPreview,
    scores: npt.NDArray[np.float32],
    classes: Sequence[str],
    rule: DetectionRule,
    detections: Sequence[Detection],
    truth: Sequence[Instance] | None = None,
    note: str = "",
) -> Path:
    """Write a PNG.

    scores: [T', C], 0–1. truth: the annotated instances, None if there are none to show. note: added to the title.
    Time above a class's threshold that belongs to no detection is marked "too short". Raises InfdetError without
    matplotlib.
    """
    if isinstance(video, Video):
        video = VideoPreview(video.name, len(video.frames), video.fps, video.frames.__getitem__)
    end_s = video.length / video.fps
    snippet_s = 1 / rule.snippets_per_second(video.length, video.fps)
    rows = len(classes)
    figure = pyplot().figure(figsize=(12, 5.0 + 0.55 * rows), layout="constrained")
    strip, curves, bars = figure.subplots(3, 1, height_ratios=(1.5, 2.4, 0.55 * rows + 0.3))
    picks = ((np.arange(STRIP_FRAMES) + 0.5) / STRIP_FRAMES * video.length).astype(int)
    strip.imshow(np.hstack(list(video.pictures(picks))), cmap="inferno", aspect="auto", extent=(0, end_s, 0, 1))
    title = f"{video.name}  ({video.length} frames, {video.fps:g} frames/s)"
    strip.set(yticks=[], xticks=[], title="   ".join(filter(None, (title, note))))
    times = (np.arange(len(scores)) + (0.5 if rule.ends == "published" else 1.0)) * snippet_s
    for index, label in enumerate(classes):
        colour = COLOURS[index % len(COLOURS)]
        curves.plot(times, scores[:, index], color=colour, label=label)
        curves.axhline(rule.thresholds[index], color=colour, linestyle=":", linewidth=1)
        found = [one for one in detections if one.label == label]
        for instance in truth or ():
            if instance.label == label:
                _bar(bars, index + 0.2, instance.start_s, instance.end_s, "", color=colour, alpha=0.35)
        for one in found:
            _bar(bars, index - 0.2, one.start_s, one.end_s, f"{one.score:.2f}", color=colour)
        for start_s, stop_s in _too_short(scores[:, index], rule, index, snippet_s, found):
            _bar(bars, index - 0.2, start_s, stop_s, "too short", color="none", edgecolor=colour, hatch="////")
    curves.set(xlim=(0, end_s), ylim=(0, 1), ylabel="score", xticklabels=[])
    bars.set(xlim=(0, end_s), ylim=(rows - 0.5, -0.5), yticks=range(rows), yticklabels=classes)
    pale = "; pale: annotated" if truth is not None else ""
    bars.set_xlabel(f"time (s)      full: detections with their score{pale}; dotted: thresholds")
    legend_below(figure, columns=min(rows, 8))
    return save_figure(figure, path)


def _bar(panel: Any, row: float, start_s: float, end_s: float, text: str, **style: Any) -> None:
    panel.barh(row, end_s - start_s, 0.28, start_s, **style)
    if text:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
        panel.text((start_s + end_s) / 2, row, text, ha="center", va="center", fontsize=7, clip_on=True, bbox=box)


def _too_short(
    column: npt.NDArray[np.float32], rule: DetectionRule, index: int, snippet_s: float, detections: Sequence[Detection]
) -> list[tuple[float, float]]:
    """Start and end in seconds of the runs of class `index` that became no detection."""
    found = runs(column.astype(np.float64), rule.thresholds[index], rule.ends)
    spans = [(run.begin * snippet_s, run.stop * snippet_s) for run in found]
    return [(a, b) for a, b in spans if not any(one.start_s < b and a < one.end_s for one in detections)]

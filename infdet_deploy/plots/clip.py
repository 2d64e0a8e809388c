"""A picture of a clip: frames, score curves, detections and annotations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infdet_deploy.datasets.instances import Instance
from infdet_deploy.detections import Detection, DetectionRule, runs
from infdet_deploy.plots.figure import COLOURS, legend_below, plain, pyplot, save_figure
from infdet_deploy.snippets import feature_length
from infdet_deploy.video import Video
from infdet_deploy.video.timeline import Part

STRIP_FRAMES = 10

# The seconds of a part's scores [n], the scores [n, C], and a function from snippets to seconds.
_Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], Callable[[float], float]]


@dataclass(frozen=True)
class VideoPreview:
    """A recording too long for memory. parts: as `Video.parts`. pictures: frame numbers → frames, uint8 [n, S, S]."""

    name: str
    parts: Sequence[Part]
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

    scores: [T', C], 0–1, of the parts one after another. truth: the annotated instances, None if there
    are none to show. note: added to the title.
    Time above a class's threshold that belongs to no detection is marked "too short". Raises InfdetError without
    matplotlib.
    """
    if isinstance(video, Video):
        video = VideoPreview(video.name, [part for part, _ in video.clips], video.frames.__getitem__)
    times_s = np.concatenate([part.times_s for part in video.parts])
    start_s, end_s, length = min(0.0, float(times_s[0])), video.parts[-1].end_s, len(times_s)
    curves_of = _by_part(video.parts, scores, rule)
    rows = len(classes)
    figure = pyplot().figure(figsize=(12, 5.0 + 0.55 * rows), layout="constrained")
    strip, curves, bars = figure.subplots(3, 1, height_ratios=(1.5, 2.4, 0.55 * rows + 0.3))
    # The frames that are shown at these times; during a pause, the last one before it.
    middles_s = (np.arange(STRIP_FRAMES) + 0.5) / STRIP_FRAMES * (end_s - start_s) + start_s
    picks = np.maximum(np.searchsorted(times_s, middles_s + 1e-9, "right") - 1, 0)
    shown, which = np.unique(picks, return_inverse=True)
    pictures = video.pictures(shown)[which]
    strip.imshow(np.hstack(list(pictures)), cmap="inferno", aspect="auto", extent=(start_s, end_s, 0, 1))
    title = f"{plain(video.name)}  ({length} frames, {video.parts[0].fps:g} frames/s)"
    strip.set(yticks=[], xticks=[], title="   ".join(filter(None, (title, plain(note)))))
    for index, label in enumerate(classes):
        colour = COLOURS[index % len(COLOURS)]
        for number, (times, values, _) in enumerate(curves_of):
            curves.plot(times, values[:, index], color=colour, label=None if number else plain(label))
        curves.axhline(rule.thresholds[index], color=colour, linestyle=":", linewidth=1)
        found = [one for one in detections if one.label == label]
        for instance in truth or ():
            if instance.label == label:
                _bar(bars, index + 0.2, instance.start_s, instance.end_s, "", color=colour, alpha=0.35)
        for one in found:
            _bar(bars, index - 0.2, one.start_s, one.end_s, f"{one.score:.2f}", color=colour)
        for begin_s, stop_s in _too_short(curves_of, rule, index, found):
            _bar(bars, index - 0.2, begin_s, stop_s, "too short", color="none", edgecolor=colour, hatch="////")
    curves.set(xlim=(start_s, end_s), ylim=(0, 1), ylabel="score", xticklabels=[])
    bars.set(xlim=(start_s, end_s), ylim=(rows - 0.5, -0.5), yticks=range(rows), yticklabels=list(map(plain, classes)))
    pale = "; pale: annotated" if truth is not None else ""
    bars.set_xlabel(f"time (s)      full: detections with their score{pale}; dotted: thresholds")
    legend_below(figure, columns=min(rows, 8))
    return save_figure(figure, path)


def _bar(panel: Any, row: float, start_s: float, end_s: float, text: str, **style: Any) -> None:
    panel.barh(row, end_s - start_s, 0.28, start_s, **style)
    if text:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}
        panel.text((start_s + end_s) / 2, row, text, ha="center", va="center", fontsize=7, clip_on=True, bbox=box)


def _by_part(parts: Sequence[Part], scores: npt.NDArray[np.float32], rule: DetectionRule) -> list[_Curve]:
    """The time of each score, the scores, and a function from snippets to seconds, of each part."""
    found: list[_Curve] = []
    first = 0
    for part in parts:
        frames = len(part.times_s)
        values = scores[first : first + feature_length(frames // 4 * 4)]
        first += len(values)
        sps = rule.snippets_per_second(frames, part.fps)
        at = partial(_shown_s, part, sps)
        centres = np.arange(len(values)) + (0.5 if rule.ends == "published" else 1.0)
        found.append((np.array([at(centre) for centre in centres]), values, at))
    return found


def _shown_s(part: Part, sps: float, snippet: float) -> float:
    return part.shown_s(snippet / sps)


def _too_short(
    curves: Sequence[_Curve], rule: DetectionRule, index: int, detections: Sequence[Detection]
) -> list[tuple[float, float]]:
    """Start and end in seconds of the runs of class `index` that became no detection."""
    spans = []
    for _, values, at in curves:
        for run in runs(values[:, index].astype(np.float64), rule.thresholds[index], rule.ends):
            spans.append((at(run.begin), at(run.stop)))
    return [(a, b) for a, b in spans if not any(one.start_s < b and a < one.end_s for one in detections)]

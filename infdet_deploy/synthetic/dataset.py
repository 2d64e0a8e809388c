"""A synthetic data set like InfDet: generated thermal clips of people who drop, fight and hug, as video files.

It replaces InfDet's videos where they are not available. Instance lengths are distributed as in InfDet, a single frame
does not reveal the class, and a seed determines all frames.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.detections import INFDET_CLASSES as CLASSES
from infdet_deploy.errors import UsageError
from infdet_deploy.files import whole_folder, write_json
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import FRAMES_PER_SNIPPET
from infdet_deploy.synthetic.choreography import direct, schedule
from infdet_deploy.synthetic.figures import Figure, draw, joints
from infdet_deploy.synthetic.scenery import Sensor, background
from infdet_deploy.video.writing import write_video

VERSION = "infdet-synthetic 2"
FPS = 25.0  # InfDet's: all times in its published annotations are multiples of 1/25 s
_SCALE = 2  # figures are drawn at twice the size and averaged, for edges at fractions of a pixel


@dataclass(frozen=True)
class SynthesizeOptions:
    """Raises UsageError for values out of range."""

    clips: int = 60
    seed: int = 0  # the same seed draws the same frames
    size: tuple[int, int] = (120, 160)  # rows, columns; even, at least 32
    fps: float = FPS
    clip_s: tuple[float, float] = (14.0, 20.0)  # shortest and longest clip, at least 10 s
    test_share: float = 0.25  # of each class's clips

    def __post_init__(self) -> None:
        (rows, columns), (shortest_s, longest_s) = self.size, self.clip_s
        even = min(rows, columns) >= 32 and rows % 2 == columns % 2 == 0
        lengths = f"clip_s is {shortest_s} to {longest_s} s, expected at least 10 s and the shorter length first"
        for valid, message in (
            (self.clips >= 1, f"clips is {self.clips}, expected 1 or more"),
            (self.seed >= 0, f"seed is {self.seed}, expected 0 or more"),
            (even, f"size is {rows} rows × {columns} columns, expected even numbers of at least 32"),
            (1 <= self.fps <= 240, f"fps is {self.fps}, expected 1 to 240"),
            (10 <= shortest_s <= longest_s, lengths),
            (0 <= self.test_share <= 1, f"test_share is {self.test_share}, expected 0 to 1"),
        ):
            if not valid:
                raise UsageError(message)


def render_clip(
    rng: np.random.Generator, label: str, options: SynthesizeOptions = SynthesizeOptions()
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Draw one clip whose instances are mostly of class `label` ("drop", "fight" or "hug").

    options: size, fps and clip_s count. Returns frames uint8 [T, rows, columns] (0–255, warm is bright) and annotations
    `{"label": name, "segment": [start_s, end_s]}` in order of time. Raises UsageError for an unknown label.
    """
    if label not in CLASSES:
        raise UsageError(f"label is {label!r}, expected one of {', '.join(CLASSES)}")
    (rows, columns), fps = options.size, options.fps
    duration_s, instances = schedule(rng, label, options.clip_s)
    t = np.arange(frames_of(duration_s, options.clip_s, fps)) / fps

    stature_px = rng.uniform(0.48, 0.7) * rows
    ground_px = rng.uniform(0.9, 0.97) * rows
    horizon_px = max(0.08 * rows, ground_px - rng.uniform(0.95, 1.4) * stature_px)
    level = rng.uniform(35, 85)
    mirror = rng.random() < 0.5
    scene = background(rng, rows * _SCALE, columns * _SCALE, horizon_px * _SCALE, level)
    sensor = Sensor(rng, t, rows, columns)
    contrast = rng.uniform(95, 140)

    figures = []
    for actor in direct(rng, t, fps, instances, columns / stature_px / 2):
        points = joints(actor.poses, actor.x, actor.facing) * (stature_px * actor.size)
        nearness = min(actor.size, 1.0)  # distant feet are nearer to the horizon
        foot_px = horizon_px + (ground_px - horizon_px) * nearness
        sign = -1.0 if mirror else 1.0
        points = np.stack([columns / 2 + sign * points[:, :, 0], foot_px - points[:, :, 1]], axis=2)
        clothes = rng.uniform(0.45, 0.68)
        shares = {"head": 1.0, "hand": 0.88, "torso": clothes, "arm": clothes - 0.05, "leg": rng.uniform(0.42, 0.6)}
        warmth = contrast * rng.uniform(0.9, 1.1) * (0.75 + 0.25 * nearness)
        heat = {name: level + warmth * share for name, share in shares.items()}
        figures.append(Figure(points, stature_px * actor.size, sign * actor.facing, heat))

    frames = np.empty((len(t), rows, columns), np.uint8)
    for index in range(len(t)):
        canvas = scene.copy()
        for figure in figures:
            draw(canvas, figure, index, _SCALE)
        frames[index] = sensor.exposed(canvas, index)
    annotations = [
        {"label": one.label, "segment": [round(float(one.start_s), 3), round(float(one.end_s), 3)]} for one in instances
    ]
    return frames, annotations


def frames_of(duration_s: float, clip_s: tuple[float, float], fps: float) -> int:
    """The number of frames, a multiple of 8, nearest to the duration and if possible within `clip_s`.

    In clips of other lengths the published rule shifts detections by up to 7 frames (docs/detection.md), which would
    blur comparisons of networks.
    """
    shortest, longest = (seconds * fps / FRAMES_PER_SNIPPET for seconds in clip_s)
    snippets = max(round(duration_s * fps / FRAMES_PER_SNIPPET), ceil(shortest))
    return FRAMES_PER_SNIPPET * min(snippets, floor(longest))


def _make(path: Path, index: int, options: SynthesizeOptions) -> dict[str, Any]:
    """Draw and write clip number `index`; returns its entry in the annotations."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([options.seed, index])
    of_class, label_index = divmod(index, len(CLASSES))
    frames, annotations = render_clip(rng, CLASSES[label_index], options)
    write_video(path, frames, options.fps, crf="14", preset="veryfast")
    # `test_share` of each class's clips are for testing, evenly spread.
    testing = int((of_class + 1) * options.test_share + 0.5) > int(of_class * options.test_share + 0.5)
    return {
        "subset": "testing" if testing else "training",
        "duration": round(len(frames) / options.fps, 3),
        "fps": options.fps,
        "annotations": annotations,
    }


def synthesize(
    out: Path | str,
    options: SynthesizeOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a synthetic data set to the new folder `out`, atomically; returns `out`.

    The folder contains `videos/NAME.mp4` (H.264) and `annotations.json` in ActivityNet's format; classes
    alternate. on_progress is called with the clips done and their total. The same options give the same frames, but
    libx264 does not always encode them to the same bytes.

    Raises UsageError if `out` exists.
    """
    out, options = Path(out), options or SynthesizeOptions()
    if out.exists():
        raise UsageError(f"{out} exists; choose another folder or remove it")
    names = [f"{CLASSES[index % len(CLASSES)]}_{index // len(CLASSES):04d}" for index in range(options.clips)]
    with whole_folder(out) as folder:
        videos = folder / "videos"
        videos.mkdir()
        made: dict[int, dict[str, Any]] = {}
        jobs = [(videos / f"{name}.mp4", index, options) for index, name in enumerate(names)]
        for index, result in in_processes(_make, jobs):
            made[index] = result
            if on_progress is not None:
                on_progress(len(made), options.clips)
        database = {name: made[index] for index, name in enumerate(names)}
        write_json(folder / "annotations.json", {"version": VERSION, "classes": list(CLASSES), "database": database})
    return out

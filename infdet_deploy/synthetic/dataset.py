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

from infdet_deploy.datasets.instances import Instance
from infdet_deploy.detections import INFDET_CLASSES as CLASSES
from infdet_deploy.errors import UsageError
from infdet_deploy.files import whole_folder, write_json
from infdet_deploy.processes import in_processes
from infdet_deploy.snippets import FRAMES_PER_SNIPPET
from infdet_deploy.synthetic.cameras import NAMES, Camera, any_camera, side_camera
from infdet_deploy.synthetic.choreography import OTHERS, Actor, direct, schedule
from infdet_deploy.synthetic.figures import Figure, draw, joints
from infdet_deploy.synthetic.scenery import Sensor, background
from infdet_deploy.video.writing import write_video

VERSION = "infdet-synthetic 2"
FPS = 25.0  # InfDet's: all times in its published annotations are multiples of 1/25 s
QUIET = "quiet"  # a clip without any action
_SCALE = 2  # on small sensors, figures are drawn at twice the size and averaged, for edges at fractions of a pixel


@dataclass(frozen=True)
class SynthesizeOptions:
    """What to draw.

    classes: InfDet's and "sit". quiet: after one clip of each class comes one without any action, labelled "quiet".
    varied: many cameras (`cameras.NAMES`) instead of one kind, whatever the `size`, and people also do what looks like
    an action (`choreography.OTHERS`).

    Raises UsageError for values out of range.
    """

    clips: int = 60
    seed: int = 0  # the same seed draws the same frames
    size: tuple[int, int] = (120, 160)  # rows, columns; even, at least 32
    fps: float = FPS
    clip_s: tuple[float, float] = (14.0, 20.0)  # shortest and longest clip, at least 10 s
    test_share: float = 0.25  # of each class's clips
    classes: tuple[str, ...] = CLASSES
    quiet: bool = False
    varied: bool = False

    def __post_init__(self) -> None:
        (rows, columns), (shortest_s, longest_s) = self.size, self.clip_s
        labels = (*CLASSES, "sit")
        even = min(rows, columns) >= 32 and rows % 2 == columns % 2 == 0
        lengths = f"clip_s is {shortest_s} to {longest_s} s, expected at least 10 s and the shorter length first"
        for valid, message in (
            (self.clips >= 1, f"clips is {self.clips}, expected 1 or more"),
            (self.seed >= 0, f"seed is {self.seed}, expected 0 or more"),
            (even, f"size is {rows} rows × {columns} columns, expected even numbers of at least 32"),
            (1 <= self.fps <= 240, f"fps is {self.fps}, expected 1 to 240"),
            (10 <= shortest_s <= longest_s, lengths),
            (
                bool(self.classes) and set(self.classes) <= set(labels),
                f"classes is {self.classes}, expected some of {', '.join(labels)}",
            ),
            (0 <= self.test_share <= 1, f"test_share is {self.test_share}, expected 0 to 1"),
        ):
            if not valid:
                raise UsageError(message)

    def clip(self, index: int) -> tuple[str, str, int]:
        """Clip number `index`: its name, label, and number among the clips of this label."""
        labels = (*self.classes, QUIET) if self.quiet else self.classes
        of_label, label_index = divmod(index, len(labels))
        label = labels[label_index]
        camera = f"{NAMES[of_label % len(NAMES)]}_" if self.varied else ""
        return f"{camera}{label}_{of_label:04d}", label, of_label


def render_clip(
    rng: np.random.Generator,
    label: str,
    options: SynthesizeOptions = SynthesizeOptions(),
    camera: Camera | None = None,
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Draw one clip whose instances are mostly of class `label`, or a clip without any ("quiet").

    options: fps, clip_s, classes, varied and, without a camera, size count. Returns frames uint8 [T, rows,
    columns] (0–255, warm is bright) and annotations `{"label": name, "segment": [start_s, end_s]}` in order of time.
    Raises UsageError for an unknown label.
    """
    if label not in (*options.classes, QUIET):
        raise UsageError(f"label is {label!r}, expected one of {', '.join((*options.classes, QUIET))}")
    fps = options.fps
    instances: list[Instance] = []
    if label == QUIET:
        duration_s = float(rng.uniform(*options.clip_s))
    else:
        duration_s, instances = schedule(rng, label, options.clip_s, options.classes)
    t = np.arange(frames_of(duration_s, options.clip_s, fps)) / fps

    camera = camera or side_camera(rng, *options.size)
    rows, columns = camera.rows, camera.columns
    scale = _SCALE if rows < 240 else 1
    scene = background(rng, rows * scale, columns * scale, camera.horizon_px * scale, camera.level)
    sensor = Sensor(rng, t, camera)
    contrast = rng.uniform(*camera.contrast)
    others = [name for name in OTHERS if options.varied and name not in options.classes]
    actors = direct(rng, t, fps, instances, columns / camera.stature_px / 2, others)
    figures = [_figure(rng, actor, camera, contrast) for actor in actors]

    frames = np.empty((len(t), rows, columns), np.uint8)
    for index in range(len(t)):
        canvas = scene.copy()
        for figure in figures:
            draw(canvas, figure, index, scale)
        frames[index] = sensor.exposed(canvas, index)
    if camera.freezes:
        first = int(rng.integers(len(t)))
        frames[first : first + round(rng.uniform(0.3, 0.8) * fps)] = frames[first]
    annotations = [
        {"label": one.label, "segment": [round(float(one.start_s), 3), round(float(one.end_s), 3)]} for one in instances
    ]
    return frames, annotations


def _figure(rng: np.random.Generator, actor: Actor, camera: Camera, contrast: float) -> Figure:
    """An actor as the camera sees it. contrast: grey levels of a head over the ground."""
    size, nearness = actor.size, min(actor.size, 1.0)
    ground_px = camera.ground_px
    if camera.pitch:  # seen from above, the ground fills the picture, and people at its far end are little smaller
        size, nearness = 0.6 + 0.4 * size, 1.0
        ground_px -= (1 - actor.size) * rng.uniform(0.2, 1.0) * camera.rows
    points = joints(actor.poses, actor.x, actor.facing, camera.pitch) * (camera.stature_px * size)
    foot_px = camera.horizon_px + (ground_px - camera.horizon_px) * nearness  # distant feet are nearer to the horizon
    sign = -1.0 if camera.mirror else 1.0
    points = np.stack([camera.columns / 2 + sign * points[:, :, 0], foot_px - points[:, :, 1]], axis=2)
    clothes = rng.uniform(0.45, 0.68)
    shares = {"head": 1.0, "hand": 0.88, "torso": clothes, "arm": clothes - 0.05, "leg": rng.uniform(0.42, 0.6)}
    warmth = contrast * rng.uniform(0.9, 1.1) * (0.75 + 0.25 * min(actor.size, 1.0))
    heat = {name: camera.level + warmth * share for name, share in shares.items()}
    return Figure(points, camera.stature_px * size, sign * actor.facing, heat)


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
    name, label, of_label = options.clip(index)
    camera = any_camera(rng, name.split("_")[0]) if options.varied else None
    frames, annotations = render_clip(rng, label, options, camera)
    write_video(path, frames, options.fps, crf="14", preset="veryfast")
    # `test_share` of each class's clips are for testing, evenly spread.
    testing = int((of_label + 1) * options.test_share + 0.5) > int(of_label * options.test_share + 0.5)
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
    names = [options.clip(index)[0] for index in range(options.clips)]
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
        write_json(
            folder / "annotations.json", {"version": VERSION, "classes": list(options.classes), "database": database}
        )
    return out

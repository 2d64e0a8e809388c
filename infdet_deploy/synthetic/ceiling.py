"""A synthetic data set of a ceiling's view: thermal arrays of 16×16 pixels in which people fall, sit down and stand up.

For thermal sensors of low resolution, at 9 frames/s; `dataset.py` draws the side view of InfDet. A seed determines all
values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.errors import UsageError
from infdet_deploy.files import whole_folder, write_json
from infdet_deploy.synthetic import ceiling_body as body
from infdet_deploy.synthetic import ceiling_sensor as sensor
from infdet_deploy.synthetic.ceiling_body import Array
from infdet_deploy.synthetic.ceiling_script import CLASSES, Script, play

VERSION = "infdet-synthetic-ceiling 1"

_INTERVAL_S = 0.111  # 9 frames/s
# People label what they see, and the sensor shows a movement 0.6 s late on average. A beginning is visible sooner.
_SHOWS_S = (0.2, 0.5)  # after an action's start, and after its end


@dataclass(frozen=True)
class CeilingOptions:
    """Raises UsageError for values out of range."""

    clips: int = 60
    seed: int = 0  # the same seed draws the same values
    clip_s: tuple[float, float] = (35.0, 60.0)  # shortest length and longest; what was begun is drawn to its end
    contrast_k: tuple[float, float] = (0.5, 1.2)  # of a person over the room, at most in the recording
    test_share: float = 0.25  # of the clips

    def __post_init__(self) -> None:
        (shortest_s, longest_s), (faintest, strongest) = self.clip_s, self.contrast_k
        lengths = f"clip_s is {shortest_s} to {longest_s} s, expected at least 20 s and the shorter length first"
        contrasts = f"contrast_k is {faintest} to {strongest} K, expected 0.1 to 20 K and the lower one first"
        for valid, message in (
            (self.clips >= 1, f"clips is {self.clips}, expected 1 or more"),
            (self.seed >= 0, f"seed is {self.seed}, expected 0 or more"),
            (20 <= shortest_s <= longest_s < np.inf, lengths),
            (0.1 <= faintest <= strongest <= 20, contrasts),
            (0 <= self.test_share <= 1, f"test_share is {self.test_share}, expected 0 to 1"),
        ):
            if not valid:
                raise UsageError(message)


@dataclass(frozen=True)
class CeilingRecording:
    """frames: float32 [T, 16, 16] in °C. times_s: float64 [T], increasing from 0, unevenly spaced.

    annotations: `{"label": name, "segment": [start_s, end_s]}` in order of time. warmth_k: what the person adds to the
    frames, in kelvin, without noise, before the warm-up.
    """

    frames: NDArray[np.float32]
    times_s: NDArray[np.float64]
    annotations: list[dict[str, Any]]
    warmth_k: NDArray[np.float32]


def draw_recording(rng: np.random.Generator, options: CeilingOptions = CeilingOptions()) -> CeilingRecording:
    """Draw one recording; `clip_s` and `contrast_k` of the options count."""
    script = play(rng, float(rng.uniform(*options.clip_s)))
    times_s = _frame_times(rng, script.now_s)
    camera = sensor.Camera(rng.uniform(2.1, 2.4), sensor.SIDE / 2 / np.tan(np.radians(rng.uniform(62, 90)) / 2))
    stature_m = rng.uniform(1.5, 1.85)
    seen = sensor.seen_warmth(camera, _joints(rng, script, times_s) * stature_m, stature_m)
    warmth = sensor.delayed(seen)
    warmth *= np.float32(rng.uniform(*options.contrast_k) / max(float(warmth.max()), 1e-3))

    place, _ = camera.project(np.array([*script.chair[:2], 0.45]))
    row, column = np.mgrid[0 : sensor.SIDE, 0 : sensor.SIDE]
    seat = np.exp(-((column - place[0]) ** 2 + (row - place[1]) ** 2) / 2)
    chair = seat * (rng.uniform(-0.2, 0.2) + 0.6 * sensor.seat_warmth(times_s, script.seated_s))[:, None, None]
    frames = sensor.room(rng, times_s) + warmth + chair.astype(np.float32) + sensor.noise(rng, len(times_s))
    frames = sensor.warmed_up(rng, np.round(frames, 2).astype(np.float32))

    kept = _received(rng, len(times_s))
    times_s = times_s[kept]
    annotations = []
    for action in script.actions:
        segment = [round(action.start_s + _SHOWS_S[0], 3), round(action.end_s + _SHOWS_S[1], 3)]
        annotations.append({"label": action.label, "segment": segment})
    return CeilingRecording(frames[kept], times_s, annotations, warmth[kept])


def _frame_times(rng: np.random.Generator, duration_s: float) -> Array:
    """Times in seconds from 0, of frames whose distances vary as those of a busy computer's clock do."""
    steps = _INTERVAL_S * rng.uniform(0.97, 1.04) * rng.uniform(0.75, 1.25, int(duration_s / _INTERVAL_S) + 1)
    times_s = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(np.round(times_s[times_s < duration_s], 3))


def _received(rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
    """Which frames arrive [count]: a tenth of the recordings lose some, always behind the warm-up."""
    kept = np.ones(count, bool)
    if rng.random() < 0.1:
        for _ in range(rng.integers(1, 6)):
            first = rng.integers(40, count - 10)
            kept[first : first + rng.integers(1, 6)] = False
    return kept


def _joints(rng: np.random.Generator, script: Script, times_s: Array) -> Array:
    """The body's joints [T, 13, 3] in the room at these times; divided by the stature, places too."""
    at = np.array(script.times_s)
    # The last keyframe at or before each time, and the share of the way to the next.
    index = np.clip(np.searchsorted(at, times_s, side="right") - 1, 0, len(at) - 2)
    share = np.clip((times_s - at[index]) / np.maximum(at[index + 1] - at[index], 1e-9), 0, 1)
    smooth = (share**2 * (3 - 2 * share))[:, None, None]
    postures, places = np.array(script.postures), np.array(script.places)
    joints = postures[index] * (1 - smooth) + postures[index + 1] * smooth
    place = places[index] * (1 - share[:, None]) + places[index + 1] * share[:, None]

    moved = np.hypot(*np.diff(place[:, :2], axis=0, prepend=place[:1, :2]).T)
    walking = np.clip(moved / np.diff(times_s, prepend=-1.0) / 0.4, 0, 1)
    joints = body.step(joints, np.cumsum(moved) * 2 * np.pi / 1.3, walking)
    joints = body.turned(joints, place[:, 2][:, None])
    # Nobody stands perfectly still.
    phase = rng.uniform(0, 2 * np.pi, (2, 2))
    sway = sum(np.sin(times_s[:, None] * rate + part) for rate, part in zip((0.9, 2.3), phase, strict=True))
    joints[:, :, :2] += ((place[:, :2] + 0.015 * sway) / 1.7)[:, None]
    return joints


def synthesize_ceiling(
    out: Path | str,
    options: CeilingOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a data set of the ceiling's view to the new folder `out`, atomically; returns `out`.

    The folder contains `videos/NAME.npz` with the arrays `frames` and `times_s`, and `annotations.json` in
    ActivityNet's format. on_progress is called with the recordings done and their total.

    Raises UsageError if `out` exists.
    """
    out, options = Path(out), options or CeilingOptions()
    if out.exists():
        raise UsageError(f"{out} exists; choose another folder or remove it")
    database: dict[str, Any] = {}
    with whole_folder(out) as folder:
        (folder / "videos").mkdir()
        for index in range(options.clips):
            recording = draw_recording(np.random.default_rng([options.seed, index]), options)
            name = f"ceiling_{index:04d}"
            np.savez(folder / "videos" / f"{name}.npz", frames=recording.frames, times_s=recording.times_s)
            testing = int((index + 1) * options.test_share + 0.5) > int(index * options.test_share + 0.5)
            database[name] = {
                "subset": "testing" if testing else "training",
                "duration": round(float(recording.times_s[-1]) + _INTERVAL_S, 3),
                "annotations": recording.annotations,
            }
            if on_progress is not None:
                on_progress(index + 1, options.clips)
        write_json(folder / "annotations.json", {"version": VERSION, "classes": list(CLASSES), "database": database})
    return out

"""Where a synthetic clip is seen from, and with which sensor: from the side as in InfDet, or any of many cameras."""

from dataclasses import dataclass
from itertools import product

import numpy as np

# Rows and columns of common thermal sensors, from a thermal array to a full-size microbolometer.
SENSORS = ((60, 80), (120, 160), (192, 256), (240, 320), (512, 640))
_VIEWS = {"side": (0.0, 0.25), "above": (0.55, 1.0)}  # how far the camera looks down, radians
_DISTANCES = {"near": (0.5, 0.72), "far": (0.27, 0.42)}  # a stature, as a share of the picture's height
# Grey levels of the ground, and of a person's head above it.
_TEMPERATURES = {"cold": ((30.0, 85.0), (90.0, 140.0)), "warm": ((90.0, 150.0), (40.0, 85.0))}

# Of the cameras that `any_camera` draws.
NAMES = tuple(f"{v}-{d}-{columns}x{rows}" for (rows, columns), v, d in product(SENSORS, _VIEWS, _DISTANCES))


@dataclass(frozen=True)
class Camera:
    """Lengths in pixels, rows from the top; grey levels 0–255."""

    rows: int
    columns: int
    stature_px: float  # of a person in front, seen from the side
    ground_px: float  # row of the feet of a person in front
    horizon_px: float  # row of the horizon; negative above the picture
    level: float  # of the ground
    mirror: bool  # draw left as right
    contrast: tuple[float, float] = (95.0, 140.0)  # of a head over the ground, at least and at most
    noise: tuple[float, float] = (1.0, 3.0)  # of each pixel and frame
    pitch: float = 0.0  # how far the camera looks down, radians
    freezes: bool = False  # the picture stands still while the sensor's shutter is closed


def side_camera(rng: np.random.Generator, rows: int, columns: int) -> Camera:
    """A camera that looks at people in front of it, as InfDet's do."""
    stature_px = rng.uniform(0.48, 0.7) * rows
    ground_px = rng.uniform(0.9, 0.97) * rows
    horizon_px = max(0.08 * rows, ground_px - rng.uniform(0.95, 1.4) * stature_px)
    return Camera(rows, columns, stature_px, ground_px, horizon_px, rng.uniform(35, 85), rng.random() < 0.5)


def any_camera(rng: np.random.Generator, name: str) -> Camera:
    """A camera of a kind of `NAMES`, such as "above-far-80x60", over cold or warm ground."""
    view, distance, size = name.split("-")
    columns, rows = map(int, size.split("x"))
    pitch = rng.uniform(*_VIEWS[view])
    stature_px = rng.uniform(*_DISTANCES[distance]) * rows
    if view == "side":
        ground_px = (rng.uniform(0.88, 0.97) if distance == "near" else rng.uniform(0.65, 0.95)) * rows
        horizon_px = max(0.08 * rows, ground_px - rng.uniform(0.95, 1.4) * stature_px)
    else:
        ground_px = rng.uniform(0.62, 0.85) * rows
        horizon_px = -rng.uniform(0.1, 0.6) * rows
    level, contrast = _TEMPERATURES[str(rng.choice(list(_TEMPERATURES)))]
    return Camera(
        rows, columns, stature_px, ground_px, horizon_px, rng.uniform(*level), rng.random() < 0.5, contrast,
        (0.5, 4.0), pitch, rng.random() < 0.2,
    )  # fmt: skip

"""Night scenes without people as a thermal camera sees them, and its sensor's noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from infdet_deploy.synthetic.cameras import Camera
from infdet_deploy.synthetic.figures import Array
from infdet_deploy.synthetic.motions import wander

Image = NDArray[np.float32]


def _cloud(rng: np.random.Generator, rows: int, columns: int, cells: int) -> Image:
    """Low-frequency noise float32 [rows, columns], mean 0, deviation about 1."""
    coarse = rng.standard_normal((cells, cells + cells // 3 + 1), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def background(rng: np.random.Generator, rows: int, columns: int, horizon: float, level: float) -> NDArray[np.uint8]:
    """A night scene uint8 [rows, columns]; `horizon` is a row, `level` the ground's grey level 0–255."""
    row, column = np.mgrid[0:rows, 0:columns].astype(np.float32)
    edge = horizon + 0.01 * rows * _cloud(rng, 1, columns, 4)
    below = np.clip((row - edge) / (0.02 * rows) + 0.5, 0.0, 1.0)
    depth = np.clip((row - horizon) / (rows - horizon), 0.0, 1.0)
    sky = level - rng.uniform(8, 28) + 6 * row / rows
    ground = level + rng.uniform(-8, 8) * (depth - 0.5) + 3.5 * _cloud(rng, rows, columns, 9)
    scene = sky * (1 - below) + ground * below
    for _ in range(rng.integers(0, 4)):  # buildings: walls that kept the day's warmth, with windows
        left, width = rng.uniform(-0.1, 0.9) * columns, rng.uniform(0.12, 0.4) * columns
        top = horizon - rng.uniform(0.1, 0.5) * rows
        foot = horizon + rng.uniform(0.0, 0.06) * rows
        wall = (column > left) & (column < left + width) & (row > top) & (row < foot)
        scene[wall] = level + rng.uniform(-14, 16) + 2 * _cloud(rng, rows, columns, 5)[wall]
        pitch = rng.uniform(0.07, 0.12) * columns
        across, up = (column - left) % pitch / pitch, (row - top) % pitch / pitch
        panes = wall & (abs(across - 0.5) < 0.22) & (abs(up - 0.5) < 0.25)
        scene[panes] += rng.uniform(-10, 16)
    for _ in range(rng.integers(0, 4)):  # trees and bushes
        x, y = rng.uniform(0, columns), horizon + rng.uniform(-0.12, 0.1) * rows
        size = rng.uniform(0.05, 0.14) * rows
        crown = np.exp(-((((column - x) ** 2 + (row - y) ** 2) / size**2) ** 2))
        scene += rng.uniform(-10, 14) * crown * (1 + 0.3 * _cloud(rng, rows, columns, 24))
    for _ in range(rng.integers(0, 3)):  # poles and kerbs
        x, half = rng.uniform(0, columns), rng.uniform(0.004, 0.012) * columns
        scene[(abs(column - x) < half) & (row < horizon + rng.uniform(0.0, 0.2) * rows)] += rng.uniform(-14, 18)
    if rng.random() < 0.5:
        y, slope = rng.uniform(horizon, rows), rng.uniform(-0.15, 0.15)
        scene += rng.uniform(-9, 9) * np.clip((row - y - slope * (column - columns / 2)) / 2 + 0.5, 0, 1) * below
    for _ in range(rng.integers(0, 3)):  # lamps, and cars with warm bonnets
        x = rng.uniform(0, columns)
        if rng.random() < 0.5:
            y, wide, high, heat = horizon - rng.uniform(0.05, 0.3) * rows, 0.012, 0.014, rng.uniform(50, 110)
        else:
            y, wide, high, heat = horizon + rng.uniform(0.0, 0.08) * rows, 0.07, 0.035, rng.uniform(20, 55)
        scene += heat * np.exp(-(((column - x) / (wide * columns)) ** 2 + ((row - y) / (high * rows)) ** 2))
    if horizon < 0:  # the camera looks down: tables, carpets, roofs of cars
        for _ in range(rng.integers(1, 6)):
            x, y = rng.uniform(0, columns), rng.uniform(0, rows)
            wide, high = rng.uniform(0.05, 0.25, 2) * (columns, rows)
            scene[(abs(column - x) < wide) & (abs(row - y) < high)] += rng.uniform(-18, 18)
    return np.asarray(np.clip(scene, 4, 235), dtype=np.uint8)


class Sensor:
    """A microbolometer: blur, drifting unevenness, gain drift, fixed pattern, and noise in each frame."""

    def __init__(self, rng: np.random.Generator, t: Array, camera: Camera) -> None:
        rows, columns = self._shape = camera.rows, camera.columns
        self._rng = rng
        self._noise = np.float32(rng.uniform(*camera.noise))
        self._sigma_px = float(rng.uniform(0.45, 0.8)) * rows / 120
        stripes = rng.normal(0, rng.uniform(0.4, 1.6), columns)
        pixels = rng.normal(0, rng.uniform(0.3, 1.2), (rows, columns))
        self._fixed = (stripes + pixels).astype(np.float32)
        self._drifting = [_cloud(rng, rows, columns, 3) for _ in range(2)]
        amount = rng.uniform(0.8, 2.5)
        self._drift = (amount * np.stack([wander(rng, t, 11.0), wander(rng, t, 17.0)], axis=1)).astype(np.float32)
        self._gain = (1.0 + 0.02 * wander(rng, t, 15.0)).astype(np.float32)
        self._offset = (2.0 * wander(rng, t, 13.0)).astype(np.float32)

    def exposed(self, canvas: NDArray[np.uint8], frame: int) -> NDArray[np.uint8]:
        """The frame uint8 [rows, columns] of a scene; `canvas` is uint8, its size a whole multiple of the sensor's."""
        rows, columns = self._shape
        picture = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self._sigma_px), dtype=np.float32)
        picture *= self._gain[frame]
        for field, amount in zip(self._drifting, self._drift[frame], strict=True):
            picture += field * amount
        picture += self._fixed
        picture += self._noise * self._rng.standard_normal(self._shape, dtype=np.float32)
        picture += self._offset[frame] + np.float32(0.5)
        return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)

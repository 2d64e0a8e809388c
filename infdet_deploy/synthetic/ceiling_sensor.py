"""How a thermal array on a ceiling sees bodies and a room: a pinhole camera, blur, delay, noise and drift."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infdet_deploy.synthetic.ceiling_body import CAPSULES, Array

SIDE = 16  # pixels in each direction
NOISE_K = 0.08  # standard deviation of a pixel
# The sensor averages over time: two equal low-pass filters of first order. A frame keeps this share of the last one,
# so that a step in temperature takes 0.6 s on average to show.
KEPT = 0.705
WARM_UP_FRAMES = (6, 20)

Frames = NDArray[np.float32]

_NEAREST_M = 0.3  # heads are not nearer to the sensor
_FULL_M = 0.5  # a body this near to the sensor has its whole contrast, at twice the distance 0.78 of it
_FADING = 0.35
_BLUR_PX = 0.5  # standard deviation of the optics' and a pixel's own blur


@dataclass(frozen=True)
class Camera:
    """Looks straight down. height_m: above the floor. focal_px: pixels at a distance of one metre for one metre."""

    height_m: float
    focal_px: float

    def project(self, points: Array) -> tuple[Array, Array]:
        """World points [..., 3] in metres → pixels (column, row) [..., 2] and distances along the axis in metres."""
        depth = np.maximum(self.height_m - points[..., 2], _NEAREST_M)
        return (SIDE - 1) / 2 + self.focal_px * points[..., :2] / depth[..., None], depth


def seen_warmth(camera: Camera, joints: Array, stature_m: float) -> Frames:
    """A body's picture, float32 [T, 16, 16]: 1 where the warmest skin fills a pixel, 0 where nothing of it is seen.

    joints: [T, 13, 3] in metres in the room.
    """
    places, depths = camera.project(joints)
    places, depths = places.astype(np.float32), depths.astype(np.float32)
    row, column = np.mgrid[0:SIDE, 0:SIDE].reshape(2, 1, -1).astype(np.float32)
    shape = len(joints), SIDE * SIDE
    free, total, weights = np.ones(shape, np.float32), np.zeros(shape, np.float32), np.full(shape, 1e-9, np.float32)
    for capsule in CAPSULES:
        start, way = places[:, capsule.first], places[:, capsule.second] - places[:, capsule.first]
        right, down = column - start[:, :1], row - start[:, 1:]
        length2 = (way**2).sum(axis=1, keepdims=True) + 1e-6
        along = np.clip((right * way[:, :1] + down * way[:, 1:]) / length2, 0, 1)
        distance2 = (right - along * way[:, :1]) ** 2 + (down - along * way[:, 1:]) ** 2
        near, far = depths[:, [capsule.first]], depths[:, [capsule.second]]
        depth = near + along * (far - near)
        radius2 = (camera.focal_px * capsule.radius * stature_m / depth) ** 2
        # Peak and width of a strip that is blurred: narrow limbs fill only part of their pixels.
        cover = np.sqrt(1 - np.exp(-radius2 / (2 * _BLUR_PX**2) * 1.27))
        cover = cover * np.exp(-distance2 / (2 * (_BLUR_PX**2 + radius2 / 2)))
        # What is nearer hides what is behind it.
        weight = cover / depth**4
        total += weight * capsule.warmth * (_FULL_M / depth) ** _FADING
        weights += weight
        free *= 1 - cover
    return ((1 - free) * total / weights).reshape(-1, SIDE, SIDE)


def delayed(frames: Frames, kept: float = KEPT) -> Frames:
    """Frames [T, H, W] after the sensor's two low-pass filters, which start at the first frame."""
    found = frames.copy()
    for _ in range(2):
        for index in range(1, len(found)):
            found[index] = kept * found[index - 1] + (1 - kept) * found[index]
    return found


def noise(rng: np.random.Generator, count: int) -> Frames:
    """Noise of the pixels and stripes that wander over the picture, in kelvin, float32 [count, 16, 16].

    Both pass the sensor's filters: the noise of a pixel changes over a second. Its standard deviation is `NOISE_K`.
    """
    lead = 30  # frames until the filters have settled
    pixels = rng.standard_normal((count + lead, SIDE, SIDE), dtype=np.float32)
    row, column = np.mgrid[0:SIDE, 0:SIDE]
    angle, wave_px = rng.uniform(0, np.pi), rng.uniform(2.2, 4.5)
    phase = 2 * np.pi * (row * np.sin(angle) + column * np.cos(angle)) / wave_px
    wander = np.cumsum(rng.normal(0, 0.35, count + lead))[:, None, None]
    stripes = rng.uniform(0, 1.6) * np.sin(phase + wander) * np.abs(np.sin(np.arange(count + lead) / 25))[:, None, None]
    found = delayed(np.asarray(pixels + 0.3 * stripes, np.float32))[lead:]
    return np.asarray(found * (NOISE_K / found.std()), np.float32)


def room(rng: np.random.Generator, times_s: Array) -> Frames:
    """The room without people in °C, float32 [T, 16, 16]: furniture, a window or radiator, and drift."""
    row, column = np.mgrid[0:SIDE, 0:SIDE]
    scene = rng.uniform(19, 27) + _smooth(rng, 4) * rng.uniform(0.03, 0.12)
    edge = np.maximum(abs(row - 7.5), abs(column - 7.5)) / 7.5
    scene = scene - rng.uniform(0, 0.25) * edge**4
    for _ in range(rng.integers(0, 5)):  # tables, chairs, mats
        scene = scene + _patch(rng, rng.uniform(0, 14), rng.uniform(0, 14)) * rng.uniform(-0.3, 0.5)
    frames = np.repeat(scene[None], len(times_s), axis=0)
    if rng.random() < 0.4:  # at a border, and its temperature changes
        along, far = rng.uniform(0, 14), rng.choice([-1.0, 14.5])
        place = (along, far) if rng.random() < 0.5 else (far, along)
        swing = rng.uniform(0.05, 0.35) * np.sin(times_s / rng.uniform(8, 40) + rng.uniform(0, 6))
        frames = frames + _patch(rng, *place) * (rng.uniform(-0.3, 1.5) + swing)[:, None, None]
    share = (times_s - times_s[0]) / max(float(np.ptp(times_s)), 1e-9)
    slow = rng.normal(0, 0.15) * share + 0.05 * np.sin(2 * np.pi * share * rng.uniform(0.5, 3) + rng.uniform(0, 6))
    own = _smooth(rng, 16) * 0.04 + _smooth(rng, 3) * 0.04  # every pixel drifts differently
    return np.asarray(frames + slow[:, None, None] + own * share[:, None, None], np.float32)


def seat_warmth(times_s: Array, seated_s: list[tuple[float, float]]) -> Array:
    """How warm a chair is, 0 to 1 [T]: it takes 20 s to warm up and a minute to cool."""
    warmth = np.zeros(len(times_s))
    for start_s, end_s in seated_s:
        reached = 1 - np.exp(-(end_s - start_s) / 20)
        warmth += reached * np.exp(-(times_s - end_s) / 60) * (times_s > end_s)
    return warmth


def warmed_up(rng: np.random.Generator, frames: Frames) -> Frames:
    """Frames [T, 16, 16] in °C whose first ones rise from 0, as after switching the sensor on."""
    count = int(rng.integers(WARM_UP_FRAMES[0], WARM_UP_FRAMES[1] + 1))
    rise = np.sort(rng.uniform(0, 0.93, count)).astype(np.float32)
    return np.concatenate([frames[:count] * rise[:, None, None], frames[count:]])


def _smooth(rng: np.random.Generator, cells: int) -> Array:
    """A pattern [16, 16] of `cells` random values in each direction, mean 0 and deviation about 1."""
    at = np.linspace(0, cells - 1, SIDE)
    low = np.minimum(at.astype(int), cells - 2)
    across = np.zeros((SIDE, cells))
    across[np.arange(SIDE), low] = 1 - (at - low)
    across[np.arange(SIDE), low + 1] = at - low
    return np.asarray(across @ rng.standard_normal((cells, cells)) @ across.T)


def _patch(rng: np.random.Generator, row: float, column: float) -> Array:
    """A blurred rectangle [16, 16], 1 inside, whose first corner is at (row, column)."""
    height, width = rng.uniform(1.5, 5, 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    down = np.clip(rows - row + 0.5, 0, 1) * np.clip(row + height - rows + 0.5, 0, 1)
    return np.asarray(down * np.clip(columns - column + 0.5, 0, 1) * np.clip(column + width - columns + 0.5, 0, 1))
